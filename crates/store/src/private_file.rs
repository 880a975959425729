//! Small files that are their owner's alone and that several processes change: logins, known servers, credentials. The
//! code that uses them decides what they contain, and who else may read an existing one.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use towline_proto::escape::EscapedPath;

/// Who may read such a file, and look into a folder that is made for it, besides their owner: nobody.
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// How long another process may take to change the file.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often the lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A private file that nobody else changes as long as this is there: what is read now is what is replaced.
#[derive(Debug)]
pub struct PrivateFile {
    path: PathBuf,
    folder: PathBuf,
    /// Its lock dies with this process.
    _lock: File,
}

/// Why a private file cannot be changed. It stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateFileError {
    /// The system refused.
    #[error("cannot {step} {}: {source}", EscapedPath(path))]
    File {
        /// What was being done.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process is changing the file, and does not end.
    #[error("another process holds {} for too long; see which one, and end it", EscapedPath(.0))]
    Locked(PathBuf),
}

impl PrivateFileError {
    /// The system refused a step with this file or folder.
    pub fn new(step: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { step, path: path.to_owned(), source }
    }
}

impl PrivateFile {
    /// Makes the file's folder where there is none, and waits until no other process is changing the file, which need
    /// not exist yet. Blocks.
    pub fn lock(path: &Path) -> Result<Self, PrivateFileError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder);
        made.map_err(failed("make", &folder))?;
        let beside = path.with_extension("lock");
        let lock = open_lock(&beside, &folder).map_err(failed("lock", &beside))?;
        wait_for(&lock, &beside)?;
        Ok(Self { path: path.to_owned(), folder, _lock: lock })
    }

    /// Puts this into the file, by one rename: whoever reads it, also after a power cut, finds the old content or this.
    pub fn replace(&self, content: &[u8]) -> Result<(), PrivateFileError> {
        let Self { path, folder, .. } = self;
        let draft = path.with_extension("new");
        // What a killed process left.
        let _ = fs::remove_file(&draft);
        let renamed =
            self.write(&draft, content).and_then(|()| fs::rename(&draft, path)).inspect_err(|_| {
                let _ = fs::remove_file(&draft);
            });
        renamed.map_err(failed("write", path))?;
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("sync", folder))
    }

    fn write(&self, draft: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(draft)?;
        let before = fs::symlink_metadata(&self.path).or_else(|_| fs::metadata(&self.folder))?;
        give(&file, &before)?;
        file.write_all(content)?;
        file.sync_all()
    }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::new(step, path, source)
}

/// Opens the lock file, which is not the private file itself: that one is replaced by renaming another over it. No link
/// is followed: root may be asked to make it in a folder of somebody else.
fn open_lock(path: &Path, folder: &Path) -> io::Result<File> {
    match OpenOptions::new().create_new(true).write(true).mode(MODE).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            OpenOptions::new().write(true).custom_flags(flags).open(path)
        }
        made => made.and_then(|made| give(&made, &fs::metadata(folder)?).map(|()| made)),
    }
}

fn wait_for(lock: &File, path: &Path) -> Result<(), PrivateFileError> {
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => sleep(LOCK_POLL),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(PrivateFileError::Locked(path.to_owned()));
            }
            Err(errno) => return Err(failed("lock", path)(errno.into())),
        }
    }
}

/// If root has made the file, its owner becomes that of `like`, who must be able to read it.
fn give(file: &File, like: &Metadata) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    fchown(file, Some(like.uid()), Some(like.gid()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_and_the_folder_made_for_it_are_their_owners_alone() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("new/folder");
        let path = folder.join("logins.toml");
        PrivateFile::lock(&path).unwrap().replace(b"secret").unwrap();
        for (path, mode) in [(&folder, 0o700), (&path, 0o600), (&folder.join("logins.lock"), 0o600)]
        {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
        assert_eq!(fs::read(path).unwrap(), b"secret");
    }

    #[test]
    fn what_a_killed_process_left_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.toml");
        fs::write(folder.path().join("logins.new"), "hal").unwrap();
        PrivateFile::lock(&path).unwrap().replace(b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["logins.lock", "logins.toml"]);
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters");
        std::thread::scope(|scope| {
            for letter in b'a'..=b't' {
                let path = &path;
                scope.spawn(move || {
                    let file = PrivateFile::lock(path).unwrap();
                    let mut letters = fs::read(path).unwrap_or_default();
                    letters.push(letter);
                    file.replace(&letters).unwrap();
                });
            }
        });
        let mut letters = fs::read(path).unwrap();
        letters.sort_unstable();
        assert_eq!(letters, (b'a'..=b't').collect::<Vec<_>>());
    }

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) =
            (folder.path().join("logins.toml"), folder.path().join("elsewhere"));
        std::os::unix::fs::symlink(&elsewhere, path.with_extension("lock")).unwrap();
        let error = PrivateFile::lock(&path).unwrap_err();
        assert!(matches!(error, PrivateFileError::File { step: "lock", .. }), "{error}");
        assert!(!elsewhere.exists());
    }
}
