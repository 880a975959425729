//! Reading many small files with as few system calls as it takes: five for each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use towline_proto::limits::DATA_BYTES_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::SmallFile;

use crate::beneath::Links;
use crate::local::{LocalRoot, OpenError, check_regular};
use crate::seen::Seen;

/// How often a file that changes while it is read is read.
const READS_MAX: usize = 3;

/// Folders on the way to the last file that stay open where nothing is read for a while.
const STANDING_FOLDERS_MAX: usize = 8;

/// Reads files below one folder. The folders on the way to the last file stay open, so that files in the order of
/// a listing cost no look-ups of their folders.
#[derive(Debug)]
pub struct SmallFiles {
    root: Arc<LocalRoot>,
    name: Option<RemoteName>,
    folder: OwnedFd,
    way: Vec<Step>,
}

/// A folder on the way to the last file, inside the one before it.
#[derive(Debug)]
struct Step {
    name: Box<[u8]>,
    folder: OwnedFd,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmallFileError {
    /// It could not be opened, or is no regular file.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is larger than [`DATA_BYTES_MAX`].
    #[error("a file of {0} bytes, which is no small one")]
    TooLarge(u64),
    /// It changed each time that it was read.
    #[error("it keeps changing")]
    Changed,
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
}

/// What became of one try to read.
enum Attempt {
    Read(SmallFile),
    Changed,
}

impl SmallFiles {
    /// Opens the folder that the files are in; `None` is the served folder itself.
    pub fn open(root: Arc<LocalRoot>, name: Option<RemoteName>) -> Result<Self, OpenError> {
        let folder = root.open_folder(name.as_ref())?;
        Ok(Self { root, name, folder, way: Vec::new() })
    }

    /// Reads the file at `path` below the folder into `content`, whose capacity is kept.
    pub fn read(
        &mut self,
        path: &RemoteName,
        content: &mut Vec<u8>,
    ) -> Result<SmallFile, SmallFileError> {
        for _ in 0..READS_MAX {
            content.clear();
            let attempt = match self.root.links() {
                Links::Refuse => self.read_at_its_folder(path, content)?,
                Links::FollowInside => self.read_by_its_name(path, content)?,
            };
            if let Attempt::Read(file) = attempt {
                return Ok(file);
            }
        }
        Err(SmallFileError::Changed)
    }

    /// Closes folders, where there are many on the way to the last file, until more is read.
    pub fn stand_still(&mut self) {
        self.way.truncate(STANDING_FOLDERS_MAX);
    }

    fn read_at_its_folder(
        &mut self,
        path: &RemoteName,
        content: &mut Vec<u8>,
    ) -> Result<Attempt, SmallFileError> {
        let folder = self.folder_of(path).map_err(OpenError::from)?;
        let name = path.file_name();
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(OpenError::from)?;
        let seen = Seen::of(&stat);
        check_regular(seen.file_type)?;
        let size = small(seen.size)?;
        // Should it have become something else since, nothing waits for it or acts on it.
        let flags =
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            // It was replaced by something that does not open so.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(Attempt::Changed),
            Err(errno) => return Err(OpenError::from(errno).into()),
        };
        let read = read_exactly(file.as_fd(), size, content);
        let now = Seen::of(&fstat(&file).map_err(|errno| SmallFileError::Read(errno.into()))?);
        // What was read from something else does not count, nor does how that failed.
        if !now.is_same_version(&seen) {
            return Ok(Attempt::Changed);
        }
        match read {
            Ok(true) => Ok(Attempt::Read(describe(&seen, content))),
            Ok(false) => Ok(Attempt::Changed),
            Err(errno) => Err(SmallFileError::Read(errno.into())),
        }
    }

    /// The same where links may be on the way, at the price of more system calls.
    fn read_by_its_name(
        &self,
        path: &RemoteName,
        content: &mut Vec<u8>,
    ) -> Result<Attempt, SmallFileError> {
        let name = path.below(self.name.as_ref()).map_err(|_| OpenError::NotFound)?;
        let opened = self.root.open_file(&name)?;
        content.resize(small(opened.version.size)?, 0);
        let read = opened.file.read_exact_at(content, 0);
        if !opened.is_unchanged().map_err(SmallFileError::Read)? {
            return Ok(Attempt::Changed);
        }
        read.map_err(SmallFileError::Read)?;
        let mode = opened.file.metadata().map_err(SmallFileError::Read)?.mode() & 0o777;
        let modified_ns = opened.version.modified_ns;
        let hash = blake3::hash(content);
        Ok(Attempt::Read(SmallFile { size: content.len(), modified_ns, mode, hash }))
    }

    /// The folder that holds the file at `path`, by the folders that are open already.
    fn folder_of(&mut self, path: &RemoteName) -> Result<BorrowedFd<'_>, Errno> {
        let (folders, _) = path.split_last();
        let mut depth = 0;
        for name in folders {
            if self.way.get(depth).is_none_or(|step| *step.name != *name) {
                self.way.truncate(depth);
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = openat(self.last_folder(), name, flags, Mode::empty())?;
                self.way.push(Step { name: name.into(), folder });
            }
            depth += 1;
        }
        self.way.truncate(depth);
        Ok(self.last_folder())
    }

    fn last_folder(&self) -> BorrowedFd<'_> {
        self.way.last().map_or(self.folder.as_fd(), |step| step.folder.as_fd())
    }
}

fn small(size: u64) -> Result<usize, SmallFileError> {
    let small = usize::try_from(size).ok().filter(|size| *size <= DATA_BYTES_MAX);
    small.ok_or(SmallFileError::TooLarge(size))
}

fn describe(seen: &Seen, content: &[u8]) -> SmallFile {
    SmallFile {
        size: content.len(),
        modified_ns: seen.modified_ns,
        mode: seen.mode,
        hash: blake3::hash(content),
    }
}

/// Reads until `size` bytes are there, and not on to the end of the file; tells whether there were that many and,
/// as far as was seen, no more.
fn read_exactly(file: BorrowedFd<'_>, size: usize, content: &mut Vec<u8>) -> Result<bool, Errno> {
    content.reserve(size);
    while content.len() < size {
        match rustix::io::read(file, spare_capacity(content)) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(content.len() == size)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::Arc;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use towline_proto::limits::DATA_BYTES_MAX;
    use towline_proto::name::RemoteName;

    use super::{STANDING_FOLDERS_MAX, SmallFileError, SmallFiles};
    use crate::beneath::Links;
    use crate::local::{LocalRoot, OpenError};

    fn name(text: &str) -> RemoteName {
        RemoteName::parse(text.as_bytes()).unwrap()
    }

    fn small_files(folder: &Path, links: Links) -> SmallFiles {
        let root = Arc::new(LocalRoot::open(folder, links).unwrap());
        SmallFiles::open(root, None).unwrap()
    }

    fn write(folder: &Path, file: &str, content: &[u8]) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn files_are_read_with_their_hashes_in_whatever_folders() {
        let folder = tempfile::tempdir().unwrap();
        let large = vec![7; DATA_BYTES_MAX];
        let files: [(&str, &[u8]); 6] = [
            ("a/b/c", b"1"),
            ("a/b/d", b""),
            ("a/e", b"22"),
            ("f/b/c", &large),
            ("g", b"3"),
            ("a/b/c", b"1"),
        ];
        for (file, content) in files {
            write(folder.path(), file, content);
        }
        for links in [Links::Refuse, Links::FollowInside] {
            let mut small_files = small_files(folder.path(), links);
            let mut buffer = Vec::new();
            for (file, content) in files {
                let read = small_files.read(&name(file), &mut buffer).unwrap();
                assert_eq!(
                    (read.size, read.hash),
                    (content.len(), blake3::hash(content)),
                    "{file}"
                );
                assert_eq!(buffer, content, "{file}");
            }
        }
    }

    #[test]
    fn few_folders_stay_open_where_nothing_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(100);
        let files = ["1", "2"].map(|file| format!("{deep}{file}"));
        let mut small_files = small_files(folder.path(), Links::Refuse);
        let mut buffer = Vec::new();
        for file in &files {
            write(folder.path(), file, file.as_bytes());
            small_files.read(&name(file), &mut buffer).unwrap();
            assert_eq!(buffer, file.as_bytes());
            small_files.stand_still();
            assert_eq!(small_files.way.len(), STANDING_FOLDERS_MAX);
        }
    }

    #[test]
    fn what_is_no_small_file_is_refused_as_what_it_is_and_nobody_hangs() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/large", &vec![7; DATA_BYTES_MAX + 1]);
        let fifo = folder.path().join("a/fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for links in [Links::Refuse, Links::FollowInside] {
            let mut small_files = small_files(folder.path(), links);
            let mut refusal = |file| small_files.read(&name(file), &mut Vec::new()).unwrap_err();
            assert!(matches!(refusal("a/large"), SmallFileError::TooLarge(1_048_577)));
            assert!(matches!(refusal("a"), SmallFileError::Open(OpenError::IsFolder)));
            assert!(matches!(refusal("a/fifo"), SmallFileError::Open(OpenError::NotAFile(_))));
            for missing in ["x", "x/y", "a/x", "a/large/x"] {
                assert!(matches!(refusal(missing), SmallFileError::Open(OpenError::NotFound)));
            }
        }
    }

    #[test]
    fn no_link_is_followed_unless_it_is_allowed_and_stays_inside() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "root/a/file", b"inside");
        write(folder.path(), "secret", b"secret");
        let root = folder.path().join("root");
        symlink("a", root.join("folder")).unwrap();
        symlink("a/file", root.join("leaf")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        let (mut refusing, mut following) =
            (small_files(&root, Links::Refuse), small_files(&root, Links::FollowInside));
        for link in ["folder/file", "leaf", "up/secret", "out"] {
            assert!(refusing.read(&name(link), &mut Vec::new()).is_err(), "{link}");
            let is_inside = ["folder/file", "leaf"].contains(&link);
            let read = following.read(&name(link), &mut Vec::new());
            assert_eq!(read.is_ok(), is_inside, "{link}");
        }
    }

    #[test]
    fn a_file_that_changes_all_the_time_is_one_of_its_contents_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let contents = [vec![1; 500_000], vec![2; 400_000]];
        write(folder.path(), "file", &contents[0]);
        let path = folder.path().join("file");
        let mut small_files = small_files(folder.path(), Links::Refuse);
        std::thread::scope(|scope| {
            let replacing = scope.spawn(|| {
                let next = path.with_extension("next");
                for content in contents.iter().cycle().take(300) {
                    fs::write(&next, content).unwrap();
                    fs::rename(&next, &path).unwrap();
                }
            });
            let mut buffer = Vec::new();
            while !replacing.is_finished() {
                match small_files.read(&name("file"), &mut buffer) {
                    Ok(read) => {
                        assert!(contents.contains(&buffer));
                        assert_eq!(read.hash, blake3::hash(&buffer));
                    }
                    Err(SmallFileError::Changed) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
}
