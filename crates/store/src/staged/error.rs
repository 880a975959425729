//! Why a file could not be received, and what can be done about it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use towline_proto::escape::EscapedPath;

use crate::own::OwnError;

/// Why a file could not be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// A folder on the way cannot be made or opened.
    #[error("cannot use the folder {}: {source}", EscapedPath(path))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The final name is taken, and may not be replaced.
    #[error("{} exists already", EscapedPath(.0))]
    TargetExists(PathBuf),
    /// Another process is receiving the same file.
    #[error("{} is being received by another transfer; wait for it to end", EscapedPath(.0))]
    Busy(PathBuf),
    /// The final name is a folder, which a file cannot replace.
    #[error("{} is a folder; move it away or choose another name", EscapedPath(.0))]
    TargetIsFolder(PathBuf),
    /// The final name is a device, a pipe or a socket: never replaced, and nothing is written into it.
    #[error("{} is a device, a pipe or a socket, and no place for a file; choose another name", EscapedPath(.0))]
    TargetIsSpecial(PathBuf),
    /// The final name of a tree is something that is no folder.
    #[error("{} is a file or a link, and a folder is to be there; move it away or choose another name", EscapedPath(.0))]
    TargetIsNoFolder(PathBuf),
    /// What has the name of the unfinished file or folder is not ours, or not ours alone, and cannot be removed.
    #[error(
        "{} is in the way: it is no file or folder of this user alone; have it removed, or choose another folder",
        EscapedPath(.0)
    )]
    InTheWay(PathBuf),
    /// Somebody has put something else into the place of what was received. Nothing is published.
    #[error("{} is not what was received any more: somebody has replaced it", EscapedPath(.0))]
    Replaced(PathBuf),
    /// The file system has less room than the file needs.
    #[error(
        "{} needs {needed_bytes} bytes and its file system has {free_bytes} left; make room and try again",
        EscapedPath(path)
    )]
    NoSpace {
        /// The file to be.
        path: PathBuf,
        /// Its size.
        needed_bytes: u64,
        /// What is left.
        free_bytes: u64,
    },
    /// Making, writing, syncing or renaming failed.
    #[error("cannot {step} {}: {source}{}", EscapedPath(path), advice(source))]
    File {
        /// What was being done.
        step: &'static str,
        /// The file to be.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system failed to write the file to the disk. Nothing of it is kept.
    #[error(
        "cannot sync {}: {source}{}; nothing of it is kept, since nobody can tell what the disk has of it",
        EscapedPath(path),
        advice(source)
    )]
    Unsynced {
        /// The file to be.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl StageError {
    /// Whether the whole disk is concerned and not this name alone.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::NoSpace { .. } | Self::Unsynced { .. } => true,
            Self::Folder { source, .. } | Self::File { source, .. } => {
                Errno::from_io_error(source).is_some_and(is_of_the_disk)
            }
            _ => false,
        }
    }
}

/// Whether a failure concerns the whole disk, or all that this process can do, and not one name alone.
pub(crate) fn is_of_the_disk(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS | Errno::MFILE | Errno::NFILE
    )
}

/// What to do about an error, where something can be done.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; make room and try again",
        io::ErrorKind::QuotaExceeded => "; make room within the quota and try again",
        _ if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
            "; the disk may be failing: check it, or choose another folder"
        }
        _ => "",
    }
}

impl OwnError {
    /// As a `StageError`: `target` is what was wanted, `at` the name that was in the way.
    pub(crate) fn on_the_way_to(
        self,
        target: &Path,
        at: PathBuf,
        system: impl FnOnce(Errno) -> StageError,
    ) -> StageError {
        match self {
            Self::Busy => StageError::Busy(target.into()),
            Self::InTheWay => StageError::InTheWay(at),
            Self::System(errno) => system(errno),
        }
    }
}
