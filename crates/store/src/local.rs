//! A served folder on a local file system.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, fstat};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

use crate::beneath::{Links, open_beneath};
use crate::seen::{BLOCK_BYTES, Seen};
use crate::version::Version;

/// How often an opening that raced a replacement of the file is begun again.
const REPLACEMENTS_MAX: usize = 8;

/// A folder that was opened once, and below which names are looked up ever after: also when its path is
/// renamed or mounted over meanwhile.
#[derive(Debug)]
pub struct LocalRoot {
    folder: OwnedFd,
    links: Links,
}

/// A regular file, open for reading, and the version that it had when it was opened.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// The open file; its offset is never used.
    pub file: Arc<File>,
    /// What it was at opening; compare with [`LocalFile::is_unchanged`].
    pub version: Version,
}

/// What a part of a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that are stored.
    Content,
    /// Zeros that are not.
    Hole,
}

/// Why a name could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing has that name.
    #[error("no such file")]
    NotFound,
    /// The name is a symbolic link, leads through one, or leads out through one.
    #[error(
        "a symbolic link that is not followed (`follow_symlinks` allows relative ones inside the folder)"
    )]
    SymbolicLink,
    /// A folder, where a file is wanted.
    #[error("not a regular file but a folder")]
    IsFolder,
    /// A regular file, where a folder is wanted.
    #[error("not a folder but a regular file")]
    NotAFolder,
    /// A FIFO, socket or device.
    #[error("not a regular file but {0}")]
    NotAFile(&'static str),
    /// The system cannot open it for now, whatever it is: descriptors or memory are short, or the name kept
    /// being replaced. Trying again may help.
    #[error("cannot be opened for now: {0}")]
    Unavailable(io::Error),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LocalRoot {
    /// Opens the folder itself. Its path may lead through links: the operator named it.
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { folder, links })
    }

    /// Opens a regular file for reading. Never blocks on a FIFO or a device, and has no effect on one: the type is
    /// checked before the name is opened for reading.
    pub fn open_file(&self, name: &RemoteName) -> Result<LocalFile, OpenError> {
        for _ in 0..REPLACEMENTS_MAX {
            let seen = fstat(self.open_beneath(name, OFlags::PATH)?).map_err(io::Error::from)?;
            check_regular(FileType::from_raw_mode(seen.st_mode))?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            let opened = self.open_beneath(name, flags)?;
            let now = fstat(&opened).map_err(io::Error::from)?;
            if (now.st_dev, now.st_ino) == (seen.st_dev, seen.st_ino) {
                let file = File::from(opened);
                let version = Version::of(&file)?;
                return Ok(LocalFile { file: Arc::new(file), version });
            }
        }
        Err(OpenError::Unavailable(Errno::AGAIN.into()))
    }

    /// Opens a folder to look up names in; `None` is the served folder itself.
    pub(crate) fn open_folder(&self, name: Option<&RemoteName>) -> Result<OwnedFd, OpenError> {
        let Some(name) = name else { return Ok(self.folder.try_clone()?) };
        let opened = self.open_beneath(name, OFlags::PATH)?;
        match FileType::from_raw_mode(fstat(&opened).map_err(io::Error::from)?.st_mode) {
            FileType::Directory => Ok(opened),
            FileType::RegularFile => Err(OpenError::NotAFolder),
            other => check_regular(other).and(Err(OpenError::NotAFolder)),
        }
    }

    /// What is seen of the folder itself.
    pub(crate) fn seen(&self) -> Result<Seen, OpenError> {
        Ok(Seen::of(&fstat(&self.folder)?))
    }

    /// What happens to links below the folder.
    pub(crate) fn links(&self) -> Links {
        self.links
    }

    pub(crate) fn open_beneath(
        &self,
        name: &RemoteName,
        flags: OFlags,
    ) -> Result<OwnedFd, OpenError> {
        Ok(open_beneath(self.folder.as_fd(), name, flags, self.links)?)
    }
}

/// What the system's refusal to open a name means.
impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Self::NotFound,
            Errno::LOOP | Errno::XDEV => Self::SymbolicLink,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
                Self::Unavailable(errno.into())
            }
            other => Self::Io(other.into()),
        }
    }
}

impl LocalFile {
    /// The first part of `range` that is all content or all hole, and which of the two. A file that has every
    /// block, or a file system that cannot tell, has content only.
    pub fn extent(&self, range: Range<u64>) -> (Range<u64>, Extent) {
        // The file's offset is moved and never used; each answer is complete in itself.
        let seek = |position| rustix::fs::seek(&*self.file, position);
        let content = match seek(SeekFrom::Data(range.start)) {
            Ok(content) => content,
            // No content from here to the end of the file.
            Err(Errno::NXIO) => return (range, Extent::Hole),
            Err(_) => return (range, Extent::Content),
        };
        if content > range.start {
            return (range.start..content.min(range.end), Extent::Hole);
        }
        let hole = seek(SeekFrom::Hole(range.start)).unwrap_or(range.end);
        (range.start..hole.clamp(range.start + 1, range.end), Extent::Content)
    }

    /// Bytes that the file takes on the disk: fewer than its size where it has holes.
    pub fn stored_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks().saturating_mul(BLOCK_BYTES))
    }

    /// Whether the file still is the version that was opened.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        self.version.is_still_of(&self.file)
    }
}

/// Fails for whatever is not a regular file.
pub(crate) fn check_regular(file_type: FileType) -> Result<(), OpenError> {
    match file_type {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(OpenError::IsFolder),
        FileType::Fifo => Err(OpenError::NotAFile("a FIFO")),
        FileType::Socket => Err(OpenError::NotAFile("a socket")),
        FileType::Symlink => Err(OpenError::SymbolicLink),
        _ => Err(OpenError::NotAFile("a device")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use towline_proto::name::RemoteName;

    use super::{Extent, LocalRoot, OpenError};
    use crate::beneath::Links;

    fn name(text: &str) -> RemoteName {
        RemoteName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn special_files_are_refused_without_hanging() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let root = LocalRoot::open(folder.path(), Links::Refuse).unwrap();
        for special in ["fifo", "socket"] {
            let error = root.open_file(&name(special)).unwrap_err();
            assert!(matches!(error, OpenError::NotAFile(_)), "{special}: {error}");
        }
        assert!(matches!(root.open_file(&name("folder")), Err(OpenError::IsFolder)));
        let root = LocalRoot::open("/dev".as_ref(), Links::Refuse).unwrap();
        assert!(matches!(root.open_file(&name("null")), Err(OpenError::NotAFile("a device"))));
    }

    #[test]
    fn a_link_is_told_from_a_missing_file_and_followed_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "content").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        let root = LocalRoot::open(folder.path(), Links::Refuse).unwrap();
        assert!(matches!(root.open_file(&name("link")), Err(OpenError::SymbolicLink)));
        assert!(matches!(root.open_file(&name("missing")), Err(OpenError::NotFound)));
        assert!(matches!(root.open_file(&name("file/below")), Err(OpenError::NotFound)));
        let root = LocalRoot::open(folder.path(), Links::FollowInside).unwrap();
        assert_eq!(root.open_file(&name("link")).unwrap().version.size, 7);
    }

    #[test]
    fn the_root_stays_the_folder_that_was_opened() {
        let parent = tempfile::tempdir().unwrap();
        let (old, new) = (parent.path().join("old"), parent.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("file"), "content").unwrap();
        let root = LocalRoot::open(&old, Links::Refuse).unwrap();
        std::fs::rename(&old, new).unwrap();
        std::fs::create_dir(&old).unwrap();
        assert!(root.open_file(&name("file")).is_ok());
    }

    #[test]
    fn holes_are_told_from_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = std::fs::File::create(&path).unwrap();
        writer.set_len(8 << 20).unwrap();
        writer.write_all_at(&[1; 4_096], 4 << 20).unwrap();
        let root = LocalRoot::open(folder.path(), Links::Refuse).unwrap();
        let file = root.open_file(&name("file")).unwrap();
        assert!(file.stored_bytes().unwrap() < file.version.size);
        let (hole, content) = (file.extent(0..8 << 20), file.extent(4 << 20..8 << 20));
        assert_eq!(hole, (0..4 << 20, Extent::Hole));
        assert_eq!(content, ((4 << 20)..(4 << 20) + 4_096, Extent::Content));
        assert_eq!(file.extent(6 << 20..7 << 20), (6 << 20..7 << 20, Extent::Hole));
    }

    #[test]
    fn a_change_after_opening_shows() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "content").unwrap();
        let root = LocalRoot::open(folder.path(), Links::Refuse).unwrap();
        let opened = root.open_file(&name("file")).unwrap();
        assert!(opened.is_unchanged().unwrap());
        std::fs::write(folder.path().join("file"), "longer content").unwrap();
        assert!(!opened.is_unchanged().unwrap());
    }
}
