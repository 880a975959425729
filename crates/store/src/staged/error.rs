//! Why a file could not be received, and what can be done about it.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Why a file could not be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// A folder on the way cannot be made or opened.
    #[error("cannot use the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The final name is taken, and may not be replaced.
    #[error("{} exists already", .0.display())]
    TargetExists(PathBuf),
    /// Another process is receiving the same file.
    #[error("{} is being received by another transfer; wait for it to end", .0.display())]
    Busy(PathBuf),
    /// The final name is a folder, which a file cannot replace.
    #[error("{} is a folder; move it away or choose another name", .0.display())]
    TargetIsFolder(PathBuf),
    /// The file system has less room than the file needs.
    #[error(
        "{} needs {needed_bytes} bytes and its file system has {free_bytes} left; make room and try again",
        path.display()
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
    #[error("cannot {step} {}: {source}{}", path.display(), advice(source))]
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
        path.display(), advice(source)
    )]
    Unsynced {
        /// The file to be.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
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
