//! The folders on the way to a file that is received: opened without following links, made where they are
//! missing, and those below the user's folder removed again if nothing comes of it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, fsync, linkat, mkdirat, open, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

pub(crate) const OPEN_FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The folder below which a file's name is used.
#[derive(Clone, Debug)]
pub struct Base {
    path: PathBuf,
    /// The folder, if it is open already. Its path then serves messages only: it may lead to another folder or a link
    /// by now.
    open: Option<Arc<OwnedFd>>,
}

impl Base {
    /// A folder that is open already.
    pub fn opened(folder: Arc<OwnedFd>, path: PathBuf) -> Self {
        Self { path, open: Some(folder) }
    }

    /// Where it is, or was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A folder that the user named, made where it is missing. The way to it may lead through links.
impl From<PathBuf> for Base {
    fn from(path: PathBuf) -> Self {
        Self { path, open: None }
    }
}

/// Renames a file or link, unless there is something of its new name.
pub(crate) fn rename_noreplace(
    from: impl AsFd,
    name: &[u8],
    to: impl AsFd,
    to_name: &[u8],
) -> Result<(), Errno> {
    match renameat_with(&from, name, &to, to_name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        renamed => return renamed,
    }
    // This file system cannot do it in one step; a link does not replace either.
    match linkat(&from, name, &to, to_name, AtFlags::empty()) {
        Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        linked => return linked.and_then(|()| unlinkat(&from, name, AtFlags::empty())),
    }
    // And has no links: what comes between these two steps is replaced.
    match statat(&to, to_name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => renameat(&from, name, &to, to_name),
        Err(errno) => Err(errno),
        Ok(_) => Err(Errno::EXIST),
    }
}

/// Folders that were made for a file. Unless they are kept, those below the base that are still empty are
/// removed when this is dropped; the base itself is the user's, and stays.
#[derive(Debug, Default)]
pub(crate) struct NewFolders {
    /// From the top down: each one's parent, and its name in there.
    made: Vec<(OwnedFd, Vec<u8>)>,
    /// How many of them are kept.
    kept: usize,
}

impl NewFolders {
    /// Opens the folder that holds `base/name`, making what is missing, and gives its path for messages.
    /// `base` may lead through links, since the user named it; nothing below it may. An error tells the
    /// folder that could not be made or opened.
    pub(crate) fn open(
        &mut self,
        base: &Base,
        name: &RemoteName,
    ) -> Result<(OwnedFd, PathBuf), (PathBuf, Errno)> {
        let mut path = base.path.clone();
        let opened = if let Some(folder) = &base.open {
            openat(folder, c".", OPEN_FOLDER, Mode::empty())
        } else {
            self.make_base(&path)?;
            self.keep();
            open(&path, OPEN_FOLDER, Mode::empty())
        };
        let mut folder = opened.map_err(|errno| (path.clone(), errno))?;
        for component in name.split_last().0 {
            path.push(OsStr::from_bytes(component));
            folder = self.descend(folder, component).map_err(|errno| (path.clone(), errno))?;
        }
        Ok((folder, path))
    }

    /// Keeps all the folders made so far.
    pub(crate) fn keep(&mut self) {
        self.kept = self.made.len();
    }

    /// Makes the names of the new folders durable.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        self.made.iter().rev().try_for_each(|(parent, _)| sync_folder(parent))
    }

    /// Makes `base` and its missing parents.
    pub(crate) fn make_base(&mut self, base: &Path) -> Result<(), (PathBuf, Errno)> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<_> = base.ancestors().take_while(is_missing).collect();
        for path in missing.into_iter().rev() {
            let Some(name) = path.file_name() else {
                continue;
            };
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            open(parent, OPEN_FOLDER, Mode::empty())
                .and_then(|parent| self.descend(parent, name.as_bytes()))
                .map_err(|errno| (path.to_owned(), errno))?;
        }
        Ok(())
    }

    /// Opens a folder's sub-folder, making it if it is missing.
    fn descend(&mut self, parent: OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        let is_new = make_folder(&parent, name)?;
        let folder = openat(&parent, name, OPEN_FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        if is_new {
            self.made.push((parent, name.to_vec()));
        }
        Ok(folder)
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        for (parent, name) in self.made.drain(self.kept..).rev() {
            let _ = unlinkat(parent, &name[..], AtFlags::REMOVEDIR);
        }
    }
}

/// Makes a folder, or finds that somebody else has; tells whether it is new.
pub(crate) fn make_folder(parent: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    match mkdirat(parent, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes the folder `name` in `parent` with all that is in it, through no link.
pub(crate) fn remove_folder(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(&parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match unlinkat(&folder, name, AtFlags::empty()) {
            // A folder: some systems say it in the one way, some in the other.
            Err(Errno::ISDIR | Errno::PERM) => remove_folder(&folder, name)?,
            removed => removed?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Syncs a folder that is only open as a path, which `fsync` does not take.
pub(crate) fn sync_folder(folder: impl AsFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fsync(openat(folder, c".", flags, Mode::empty())?)
}
