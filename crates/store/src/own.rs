//! Unfinished files and folders that nobody else has a hand in. In a folder that several users may write into, anybody
//! can make what has their names first; and whoever owns a file, or may write to it, owns what is published from it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, chmod, flock, fstat, mkdirat, openat,
    statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use towline_proto::name::part_name;

/// How often it is tried again while other processes make and remove what has the name.
const RACES_MAX: usize = 100;

/// Permissions of new files, before the user's mask.
const NEW_FILE_MODE: Mode = Mode::from_bits_truncate(0o666);

/// What we need of our own files.
const OWNER_WRITES: Mode = Mode::RUSR.union(Mode::WUSR);

/// Bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What is being claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file with one name, opened for reading and writing.
    File,
    /// A folder that is its owner's alone, opened for listing.
    Folder,
}

/// Why nothing of ours has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnError {
    /// Another process is at work on it.
    Busy,
    /// Something else has it, and cannot be removed.
    InTheWay,
    /// The system's reason.
    System(Errno),
}

/// Opens and locks what we have left under that name, or make now. What others have left there is removed if that is
/// possible and nobody is at work on it.
pub(crate) fn take(parent: BorrowedFd<'_>, name: &[u8], kind: Kind) -> Result<OwnedFd, OwnError> {
    for _ in 0..RACES_MAX {
        let found = open_or_make(parent, name, kind)?;
        match flock(&found, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(OwnError::Busy),
            locked => locked?,
        }
        // Its last owner may have renamed or removed it between our opening and our locking it.
        if leads_to(parent, name, &found)? {
            if is_own(&found, parent, name, kind)? {
                return Ok(found);
            }
            kind.remove(parent, name)?;
        }
    }
    Err(OwnError::Busy)
}

/// Whether the name is that of what is open.
pub(crate) fn leads_to(parent: impl AsFd, name: &[u8], open: impl AsFd) -> Result<bool, Errno> {
    let open = fstat(open)?;
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn open_or_make(parent: BorrowedFd<'_>, name: &[u8], kind: Kind) -> Result<OwnedFd, OwnError> {
    for _ in 0..RACES_MAX {
        match kind.open(parent, name) {
            Err(Errno::NOENT) => match kind.make(parent, name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            },
            // One that is whole may have the permissions of what it was to become.
            Err(Errno::ACCESS) if kind == Kind::File && make_writable(parent, name).is_ok() => {}
            Err(errno) => return Err(refused(parent, name, errno)),
            Ok(opened) => return Ok(opened),
        }
    }
    Err(OwnError::Busy)
}

/// Lets us read and write a file of ours that we may not. Fails where it is another's, or nothing was missing.
fn make_writable(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(parent, name, flags, Mode::empty())?;
    let stat = fstat(&found)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let is_ours = Kind::File.is_of(&stat) && stat.st_uid == geteuid().as_raw();
    if !is_ours || mode.contains(OWNER_WRITES) {
        return Err(Errno::ACCESS);
    }
    // What is opened as a path alone is changed by this name of it (proc(5)).
    chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), mode | OWNER_WRITES)
}

/// What the system's refusal to open something means.
fn refused(parent: BorrowedFd<'_>, name: &[u8], errno: Errno) -> OwnError {
    let is_about_it = matches!(
        errno,
        Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO
    );
    // Where the folder around it cannot be used either, that is what must be told.
    let is_there = || statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if is_about_it && is_there() { OwnError::InTheWay } else { errno.into() }
}

/// Whether it is as we make it: of our user, and open to no more writers. Fails where that cannot be told: it may be
/// ours, and must not be removed then.
fn is_own(
    found: &OwnedFd,
    parent: BorrowedFd<'_>,
    name: &[u8],
    kind: Kind,
) -> Result<bool, OwnError> {
    let found = fstat(found)?;
    if !kind.is_of(&found) {
        return Ok(false);
    }
    if found.st_uid == geteuid().as_raw() && found.st_mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(true);
    }
    // The user's mask may leave others in, and some file systems give owners and permissions of their own.
    let ours = kind.sample(parent, name)?;
    let more_writers = found.st_mode & !ours.st_mode & WRITABLE_BY_OTHERS;
    Ok(found.st_uid == ours.st_uid && more_writers == 0)
}

impl Kind {
    fn open(self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = match self {
            // A pipe is not waited for.
            Self::File => OFlags::RDWR | OFlags::NONBLOCK,
            Self::Folder => OFlags::RDONLY | OFlags::DIRECTORY,
        };
        openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    fn make(self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                openat(parent, name, flags, NEW_FILE_MODE).map(drop)
            }
            Self::Folder => mkdirat(parent, name, Mode::RWXU),
        }
    }

    /// Removes what has the name; of folders only empty ones, since there is no end to what others may put in.
    fn remove(self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), OwnError> {
        let flags = match self {
            Self::File => AtFlags::empty(),
            Self::Folder => AtFlags::REMOVEDIR,
        };
        match unlinkat(parent, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(_) => Err(OwnError::InTheWay),
        }
    }

    fn is_of(self, stat: &Stat) -> bool {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        match self {
            // A hard link's content is somebody else's too.
            Self::File => file_type.is_file() && stat.st_nlink <= 1,
            Self::Folder => file_type.is_dir(),
        }
    }

    /// What one looks like that is made now.
    fn sample(self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, OwnError> {
        let name = beside_part(name, b".sample");
        // Left by somebody who was killed here.
        self.remove(parent, &name)?;
        self.make(parent, &name)?;
        let stat = statat(parent, &name[..], AtFlags::SYMLINK_NOFOLLOW)?;
        self.remove(parent, &name)?;
        Ok(stat)
    }
}

impl From<Errno> for OwnError {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

/// The name under which a file is received; the hash tells names apart that are too long for it.
pub(crate) fn part_name_of(file_name: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(file_name).to_hex();
    part_name(file_name, &hash[..16])
}

/// The name of something else that belongs to `file_name`, told apart by `ending`. No file is received under it: that one
/// would have a part's name itself, which no file on a server has.
pub(crate) fn beside_part(file_name: &[u8], ending: &[u8]) -> Vec<u8> {
    part_name_of(&part_name_of(&[file_name, ending].concat()))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, read, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_of_ours_that_has_become_read_only_is_writable_again() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        write(&part, "whole").unwrap();
        set_permissions(&part, Permissions::from_mode(0o444)).unwrap();
        let parent = std::fs::File::open(folder.path()).unwrap();
        make_writable(parent.as_fd(), b"part").unwrap();
        assert_eq!(part.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(
            make_writable(parent.as_fd(), b"part"),
            Err(Errno::ACCESS),
            "nothing is missing"
        );
        std::os::unix::fs::symlink("part", folder.path().join("link")).unwrap();
        set_permissions(&part, Permissions::from_mode(0o444)).unwrap();
        assert_eq!(make_writable(parent.as_fd(), b"link"), Err(Errno::ACCESS));
    }

    #[test]
    fn what_may_be_ours_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (part, sample) = (folder.path().join("part"), beside_part(b"part", b".sample"));
        write(&part, "some").unwrap();
        set_permissions(&part, Permissions::from_mode(0o664)).unwrap();
        // Nothing can be made to compare it with.
        create_dir(folder.path().join(String::from_utf8(sample).unwrap())).unwrap();
        let parent = std::fs::File::open(folder.path()).unwrap();
        let taken = take(parent.as_fd(), b"part", Kind::File);
        assert_eq!(taken.unwrap_err(), OwnError::InTheWay);
        assert_eq!(read(&part).unwrap(), b"some");
    }
}
