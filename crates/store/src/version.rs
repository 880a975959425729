//! What tells one content of a file from another without reading it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

/// A file's identity and state: as long as it is equal, so is the content.
///
/// The change time is set by the kernel at every write and cannot be put back, so that a rewrite in place
/// with size and modification time restored still shows. Within the granularity of time stamps a change
/// can hide; what is remembered over time therefore waits until a version has [settled](Self::settled_at).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// The file system: its id, or its device number where it has none.
    pub file_system: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Change time, nanoseconds since 1970.
    pub changed_ns: i64,
}

/// How long after its last change a version may be remembered.
const SETTLING_NS: i64 = 2_000_000_000;

impl Version {
    /// The version that an open file has now.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let file_system = match rustix::fs::fstatvfs(file)?.f_fsid {
            0 => metadata.dev(),
            id => id,
        };
        Ok(Self::from_metadata(file_system, &metadata))
    }

    /// Whether an open file that had this version still has it.
    pub fn is_still_of(self, file: &File) -> io::Result<bool> {
        // An open file stays on its file system.
        Ok(Self::from_metadata(self.file_system, &file.metadata()?) == self)
    }

    fn from_metadata(file_system: u64, metadata: &Metadata) -> Self {
        Self {
            file_system,
            inode: metadata.ino(),
            size: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The version as bytes, equal exactly where versions are.
    pub fn to_bytes(self) -> [u8; 40] {
        let fields = [
            self.file_system,
            self.inode,
            self.size,
            self.modified_ns.cast_unsigned(),
            self.changed_ns.cast_unsigned(),
        ];
        let mut bytes = [0; 40];
        for (place, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *place = field.to_be_bytes();
        }
        bytes
    }

    /// Whether at `now_ns`, when its content began to be read, its last change was so long ago (2 s) that
    /// a later change cannot have got the same time stamps.
    pub fn settled_at(&self, now_ns: i64) -> bool {
        let last_change_ns = self.modified_ns.max(self.changed_ns);
        last_change_ns.saturating_add(SETTLING_NS) <= now_ns
    }
}

/// Seconds and nanoseconds as nanoseconds; saturates beyond the years 1677 to 2262.
pub(crate) fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::Version;

    fn version(modified_ns: i64, changed_ns: i64) -> Version {
        Version { file_system: 1, inode: 2, size: 3, modified_ns, changed_ns }
    }

    #[test]
    fn a_version_settles_two_seconds_after_the_later_of_its_times() {
        assert!(version(0, 5_000_000_000).settled_at(7_000_000_000));
        assert!(!version(0, 5_000_000_001).settled_at(7_000_000_000));
        assert!(!version(5_000_000_001, 0).settled_at(7_000_000_000));
    }

    #[test]
    fn times_in_the_future_never_settle() {
        assert!(!version(i64::MAX, 0).settled_at(i64::MAX - 1));
    }

    #[test]
    fn a_rewrite_in_place_with_size_and_mtime_put_back_is_another_version() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old").unwrap();
        let before = Version::of(file.as_file()).unwrap();
        let modified = file.as_file().metadata().unwrap().modified().unwrap();
        // The kernel's clock for time stamps ticks every few milliseconds.
        while Version::of(file.as_file()).unwrap() == before {
            std::fs::write(file.path(), "new").unwrap();
            file.as_file().set_modified(modified).unwrap();
        }
        let after = Version::of(file.as_file()).unwrap();
        assert_eq!((after.size, after.modified_ns), (before.size, before.modified_ns));
        assert_ne!(after.changed_ns, before.changed_ns);
    }
}
