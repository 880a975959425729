//! Times and permissions that files bring along.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::fs::{
    self, AtFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, utimensat,
};
use rustix::io::Errno;

/// Permission bits that may be set: those that let somebody act as somebody else never are.
const MODE_BITS: u32 = 0o777;

/// Lets everybody write, where the user's mask leaves them that.
const EVERYBODY_WRITES: u32 = 0o002;

/// What everybody needs of their own folders, so that a later run can write into them.
const OWN_FOLDER_BITS: u32 = 0o700;

/// What everybody needs of their own files, so that a later run can look at them.
const OWN_FILE_BITS: u32 = 0o400;

/// How exactly file systems keep times that do not keep nanoseconds: NTFS and SMB, UDF, exFAT, and many old ones.
const TIME_GRANULES_NS: [i64; 4] = [100, 1_000, 10_000_000, 1_000_000_000];

/// What a file or folder brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Permissions.
    pub mode: Mode,
}

/// Permissions of something that is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What everything new here has.
    Default,
    /// These bits, but for what nobody would want to get from elsewhere.
    Keep(u32),
}

impl Attributes {
    /// The permissions to create a file with, and whether the system takes some of them away by the user's mask, so
    /// that they must be set afterwards.
    pub(super) fn new_file(self) -> (fs::Mode, bool) {
        match self.mode {
            Mode::Default => (fs::Mode::from_raw_mode(0o666), false),
            Mode::Keep(mode) => {
                let mode = kept(mode) | OWN_FILE_BITS;
                (fs::Mode::from_raw_mode(mode), mode & umask() != 0)
            }
        }
    }

    /// Sets the times of an open file.
    pub(super) fn set_times(self, file: impl AsFd) -> Result<(), Errno> {
        futimens(file, &self.timestamps())
    }

    /// Sets times and permissions of an open file.
    pub(crate) fn set(self, file: impl AsFd) -> Result<(), Errno> {
        if let Mode::Keep(mode) = self.mode {
            fchmod(&file, fs::Mode::from_raw_mode(kept(mode) | OWN_FILE_BITS))?;
        }
        self.set_times(file)
    }

    /// Sets times and permissions of the folder `name` in `parent`, where they differ.
    pub(super) fn set_folder(self, parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
        let is = fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !fs::FileType::from_raw_mode(is.st_mode).is_dir() {
            return Err(Errno::NOTDIR);
        }
        if let Mode::Keep(mode) = self.mode {
            let mode = kept(mode) | OWN_FOLDER_BITS;
            if is.st_mode & 0o7777 != mode {
                // Opened, since a name could have become a link meanwhile, which `fchmodat` follows.
                let flags = fs::OFlags::DIRECTORY | fs::OFlags::NOFOLLOW | fs::OFlags::CLOEXEC;
                let folder = fs::openat(&parent, name, flags, fs::Mode::empty())?;
                fchmod(folder, fs::Mode::from_raw_mode(mode))?;
            }
        }
        if modified_ns(&is) == self.modified_ns {
            return Ok(());
        }
        utimensat(parent, name, &self.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn timestamps(self) -> Timestamps {
        let nanoseconds = self.modified_ns.rem_euclid(1_000_000_000);
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: self.modified_ns.div_euclid(1_000_000_000),
                tv_nsec: nanoseconds,
            },
        }
    }

    /// Whether something here has this modification time, as exactly as its file system keeps it.
    pub(super) fn is_modified_as(self, here_ns: i64) -> bool {
        let is_kept_in = |granule_ns: i64| {
            let granule = |ns: i64| ns.div_euclid(granule_ns);
            here_ns.rem_euclid(granule_ns) == 0 && granule(here_ns) == granule(self.modified_ns)
        };
        here_ns == self.modified_ns || TIME_GRANULES_NS.into_iter().any(is_kept_in)
    }
}

/// Modification time, nanoseconds since 1970; saturates beyond the years 1677 to 2262.
pub fn modified_ns(stat: &Stat) -> i64 {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// What of permissions is kept: nothing that lets somebody act as somebody else, and no more writing by everybody than
/// the user lets them do in new files.
fn kept(mode: u32) -> u32 {
    mode & MODE_BITS & !(umask() & EVERYBODY_WRITES)
}

/// The user's mask for new files; where the system does not tell it, one that takes everything.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let told = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = told.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        umask.unwrap_or(MODE_BITS)
    })
}
