//! Where a tree goes, and what is there already.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, open, openat, readlinkat, statat};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

use super::attributes::{Attributes, modified_ns};
use super::chain::{FolderChain, Missing};
use super::writer::PutError;
use crate::folders::OPEN_FOLDER;
use crate::staged::{Base, StageError};

/// The place of a tree, looked at and not changed.
#[derive(Debug)]
pub struct TargetTree {
    path: PathBuf,
    /// The folder that holds the tree's root; missing where it must be made first.
    pub(super) parent: PathBuf,
    pub(super) name: Vec<u8>,
    /// The root, where it is there.
    pub(super) existing: Option<Arc<OwnedFd>>,
}

/// What has a name here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    /// Nothing.
    Nothing,
    /// A file.
    File {
        /// In bytes.
        size: u64,
        /// Modification time, nanoseconds since 1970.
        modified_ns: i64,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// Neither, or something below what is no folder.
    Other,
}

/// A file's or folder's identity and last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Device and inode number.
    pub id: (u64, u64),
    /// Whether it may have several names.
    pub has_names: bool,
    /// When it last changed in any way, nanoseconds since 1970, by the clock of its file system.
    pub changed_ns: i64,
}

impl Inode {
    pub(super) fn of(stat: &Stat) -> Self {
        let is_folder = FileType::from_raw_mode(stat.st_mode).is_dir();
        let nanoseconds = i64::try_from(stat.st_ctime_nsec).unwrap_or_default();
        Self {
            id: (stat.st_dev, stat.st_ino),
            has_names: !is_folder && stat.st_nlink > 1,
            changed_ns: stat.st_ctime.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        }
    }
}

impl TargetTree {
    /// The folder at `path`, whose own way may lead through links, since the user named it.
    pub fn at(path: &Path) -> Result<Self, StageError> {
        let failed = |errno: Errno| StageError::Folder { path: path.into(), source: errno.into() };
        let existing = match open(path, OPEN_FOLDER, Mode::empty()) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(Errno::NOENT) => None,
            // The path itself, or something on the way to it.
            Err(Errno::NOTDIR) if path.symlink_metadata().is_ok() => {
                return Err(StageError::TargetIsNoFolder(path.into()));
            }
            Err(errno) => return Err(failed(errno)),
        };
        // A path that ends in `..` names something that is there, and needs no name of its own.
        let name = path.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec());
        if existing.is_none() && name.is_empty() {
            return Err(failed(Errno::NOENT));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_owned();
        Ok(Self { path: path.into(), parent, name, existing })
    }

    /// The folder `name` in `folder`, which may not be a link.
    pub fn within(folder: &Path, name: &[u8]) -> Result<Self, StageError> {
        let path = folder.join(OsStr::from_bytes(name));
        let failed = |path: &Path, errno: Errno| StageError::Folder {
            path: path.into(),
            source: errno.into(),
        };
        let existing = match open(folder, OPEN_FOLDER, Mode::empty()) {
            Ok(folder) => match openat(folder, name, OPEN_FOLDER | OFlags::NOFOLLOW, Mode::empty())
            {
                Ok(root) => Some(Arc::new(root)),
                Err(Errno::NOENT) => None,
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(StageError::TargetIsNoFolder(path)),
                Err(errno) => return Err(failed(&path, errno)),
            },
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed(folder, errno)),
        };
        Ok(Self { parent: folder.into(), name: name.to_vec(), existing, path })
    }

    /// Where the tree will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is no such folder yet.
    pub fn is_new(&self) -> bool {
        self.existing.is_none()
    }

    /// The root as the folder below which files go, where it is there.
    pub fn base(&self) -> Option<Base> {
        Some(Base::opened(Arc::clone(self.existing.as_ref()?), self.path.clone()))
    }

    /// The way down from the root, where it is there.
    pub fn chain(&self, missing: Missing) -> Option<FolderChain> {
        Some(FolderChain::new(Arc::clone(self.existing.as_ref()?), missing))
    }
}

impl FolderChain {
    /// What has this name.
    pub fn look(&mut self, path: &RemoteName) -> Result<Here, PutError> {
        self.look_closely(path).map(|(here, _)| here)
    }

    /// What has this name, and its identity.
    pub fn look_closely(&mut self, path: &RemoteName) -> Result<(Here, Option<Inode>), PutError> {
        self.seen(path).map_err(|errno| PutError::new("look at what is in the place of", errno))
    }

    fn seen(&mut self, path: &RemoteName) -> Result<(Here, Option<Inode>), Errno> {
        let parent = match self.parent_of(path) {
            Ok(parent) => parent,
            Err(Errno::NOENT) => return Ok((Here::Nothing, None)),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok((Here::Other, None)),
            Err(errno) => return Err(errno),
        };
        let stat = match statat(parent, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok((Here::Nothing, None)),
            Err(errno) => return Err(errno),
        };
        let here = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Here::File {
                size: u64::try_from(stat.st_size).unwrap_or_default(),
                modified_ns: modified_ns(&stat),
            },
            FileType::Directory => Here::Folder,
            FileType::Symlink => {
                let target = readlinkat(parent, path.file_name(), Vec::new())?;
                Here::Link { target: target.into_bytes() }
            }
            _ => Here::Other,
        };
        Ok((here, Some(Inode::of(&stat))))
    }
}

impl Here {
    /// Whether this is a file of that size.
    pub fn is_file_of(&self, size_there: u64) -> bool {
        matches!(self, Self::File { size, .. } if *size == size_there)
    }

    /// Whether this is a file of that size and time: then its content is taken to be the same.
    pub fn is_same_file(&self, size_there: u64, there: Attributes) -> bool {
        matches!(self, Self::File { size, modified_ns }
            if *size == size_there && there.is_modified_as(*modified_ns))
    }
}
