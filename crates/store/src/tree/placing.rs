//! Giving a file that is built its name in a tree that is here, also where a part of that is another file system.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, fsync,
    futimens, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

use super::chain::FolderChain;
use crate::folders::{rename_noreplace, sync_folder};
use crate::own::{self, Kind, OwnError, part_name_of};
use crate::staged::{Durability, Existing};

/// Moves a file, whose content is as durable as asked for.
pub(super) fn place(
    from: &mut FolderChain,
    to: &mut FolderChain,
    path: &RemoteName,
    existing: Existing,
    durability: Durability,
) -> Result<(), Errno> {
    let (from, to, name) = (from.parent_of(path)?, to.parent_of(path)?, path.file_name());
    match rename(from, name, to, name, existing) {
        Err(Errno::XDEV) => {}
        renamed => return renamed,
    }
    let part = part_name_of(name);
    // Locked until it has its name.
    let copy = own::take(to, &part, Kind::File).map_err(errno_of)?;
    let placed = copy_into(&copy, from, name, durability)
        .and_then(|()| rename(to, &part, to, name, existing));
    if placed.is_err() {
        let _ = unlinkat(to, &part[..], AtFlags::empty());
    }
    placed?;
    if durability == Durability::Synced {
        sync_folder(to)?;
    }
    unlinkat(from, name, AtFlags::empty())
}

fn rename(
    from: BorrowedFd<'_>,
    name: &[u8],
    to: BorrowedFd<'_>,
    to_name: &[u8],
    existing: Existing,
) -> Result<(), Errno> {
    match existing {
        Existing::Replace => renameat_with(from, name, to, to_name, RenameFlags::empty()),
        Existing::Refuse => rename_noreplace(from, name, to, to_name),
    }
}

/// Copies content, times and permissions.
fn copy_into(
    copy: &OwnedFd,
    from: BorrowedFd<'_>,
    name: &[u8],
    durability: Durability,
) -> Result<(), Errno> {
    let source =
        openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let is = fstat(&source)?;
    let mut copy = File::from(copy.try_clone().map_err(|error| errno_of_io(&error))?);
    copy.set_len(0)
        .and_then(|()| io::copy(&mut File::from(source), &mut copy))
        .map_err(|error| errno_of_io(&error))?;
    fchmod(&copy, Mode::from_raw_mode(is.st_mode))?;
    let last_modification =
        Timespec { tv_sec: is.st_mtime, tv_nsec: is.st_mtime_nsec.cast_signed() };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    futimens(&copy, &Timestamps { last_access, last_modification })?;
    match durability {
        Durability::Synced => fsync(copy.as_fd()),
        Durability::Unsynced => Ok(()),
    }
}

fn errno_of_io(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn errno_of(error: OwnError) -> Errno {
    match error {
        OwnError::Busy => Errno::BUSY,
        OwnError::InTheWay => Errno::ACCESS,
        OwnError::System(errno) => errno,
    }
}
