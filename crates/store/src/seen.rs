//! What one look at something in a folder tells.

use rustix::fs::{FileType, Stat};

use crate::version::nanoseconds;

/// The unit in which a file's blocks are counted (stat(2), `st_blocks`).
pub(crate) const BLOCK_BYTES: u64 = 512;

/// Holes of a smaller file are not worth keeping.
const SPARSE_BYTES_MIN: u64 = 64 * 1_024;

/// What something is. As long as it is equal, so is the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) file_type: FileType,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) modified_ns: i64,
    pub(crate) changed_ns: i64,
    /// Permission bits.
    pub(crate) mode: u32,
}

impl Seen {
    pub(crate) fn of(stat: &Stat) -> Self {
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        let nanosecond = |part| i64::try_from(part).unwrap_or(0);
        Self {
            file_type: FileType::from_raw_mode(stat.st_mode),
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            stored_bytes: blocks.saturating_mul(BLOCK_BYTES),
            modified_ns: nanoseconds(stat.st_mtime, nanosecond(stat.st_mtime_nsec)),
            changed_ns: nanoseconds(stat.st_ctime, nanosecond(stat.st_ctime_nsec)),
            mode: stat.st_mode & 0o777,
        }
    }

    /// What tells it from all else that is there at the same time.
    pub(crate) fn id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether it is the same thing with the same content. Blocks may be allocated late, and permissions show
    /// in the change time.
    pub(crate) fn is_same_version(&self, other: &Self) -> bool {
        let version = |seen: &Self| (seen.id(), seen.size, seen.modified_ns, seen.changed_ns);
        version(self) == version(other)
    }

    /// Whether it has holes that are worth keeping.
    pub(crate) fn is_sparse(&self) -> bool {
        self.size > SPARSE_BYTES_MIN && self.stored_bytes < self.size
    }
}
