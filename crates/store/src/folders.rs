//! The folders on the way to a file that is received: opened without following links, made where they are
//! missing, and those below the user's folder removed again if nothing comes of it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, fsync, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

const OPEN_FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

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
        base: &Path,
        name: &RemoteName,
    ) -> Result<(OwnedFd, PathBuf), (PathBuf, Errno)> {
        self.make_base(base)?;
        self.keep();
        let mut folder =
            open(base, OPEN_FOLDER, Mode::empty()).map_err(|errno| (base.to_owned(), errno))?;
        let mut path = base.to_owned();
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
    fn make_base(&mut self, base: &Path) -> Result<(), (PathBuf, Errno)> {
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
fn make_folder(parent: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    match mkdirat(parent, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Syncs a folder that is only open as a path, which `fsync` does not take.
pub(crate) fn sync_folder(folder: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fsync(openat(folder, c".", flags, Mode::empty())?)
}
