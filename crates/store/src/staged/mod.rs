//! A file on its way in: written beside its final name, which it takes at once when it is whole.
//!
//! Whatever happens before that, also `kill -9` or a power cut, the final name holds what it held.

mod error;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::unlinkat;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::fs::{flock, fstat, fstatvfs, fsync, linkat, openat, renameat, renameat_with, statat};
use rustix::io::Errno;
use towline_proto::name::{RemoteName, part_name};

pub use self::error::StageError;
use crate::folders::{NewFolders, sync_folder};
use crate::syncer::Syncer;

/// How often taking the unfinished file is tried again while another process finishes with it.
const RACES_MAX: usize = 100;

/// The unit in which a file's blocks are counted (stat(2), `st_blocks`).
const BLOCK_BYTES: u64 = 512;

/// Permissions of new files, before the user's mask.
const NEW_FILE_MODE: Mode = Mode::RUSR
    .union(Mode::WUSR)
    .union(Mode::RGRP)
    .union(Mode::WGRP)
    .union(Mode::ROTH)
    .union(Mode::WOTH);

/// Whether a published file outlives a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Data, rename and folders are synced before success is told.
    #[default]
    Synced,
    /// They are left to the system, which writes them within its own time.
    Unsynced,
}

/// What becomes of a transfer that does not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// It is removed, with the folders that were made for it; what a dead one left is emptied.
    Discard,
    /// It is kept for another process to go on with.
    Keep,
}

/// What becomes of a file that has the final name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and publishing fails.
    Refuse,
}

/// An unfinished file, locked against other processes.
#[derive(Debug)]
pub struct Staged {
    target: PathBuf,
    folder: OwnedFd,
    file_name: Vec<u8>,
    part_name: Vec<u8>,
    file: Arc<File>,
    syncer: Syncer,
    new_folders: NewFolders,
    leftovers: Leftovers,
}

impl Staged {
    /// Begins `base/name`, or goes on with what an earlier, dead transfer left of it, making the folders that
    /// are missing. Below `base`, no link is followed. Blocks.
    pub fn create(
        base: &Path,
        name: &RemoteName,
        leftovers: Leftovers,
    ) -> Result<Self, StageError> {
        let mut new_folders = NewFolders::default();
        let (folder, folder_path) = new_folders
            .open(base, name)
            .map_err(|(path, errno)| StageError::Folder { path, source: errno.into() })?;
        let file_name = name.file_name().to_vec();
        let target = folder_path.join(OsStr::from_bytes(&file_name));
        if is_folder(&folder, &file_name) {
            return Err(StageError::TargetIsFolder(target));
        }
        let part_name = part_name_of(&file_name);
        let file = take_part(&folder, &part_name)
            .map_err(|source| StageError::File { step: "create", path: target.clone(), source })?
            .ok_or_else(|| StageError::Busy(target.clone()))?;
        let file = Arc::new(file);
        if leftovers == Leftovers::Keep {
            new_folders.keep();
        }
        let staged = Self {
            target,
            folder,
            file_name,
            part_name,
            syncer: Syncer::new(Arc::clone(&file)),
            file,
            new_folders,
            leftovers,
        };
        if leftovers == Leftovers::Discard {
            staged.restart()?;
        }
        Ok(staged)
    }

    /// The notes beside the file, for whoever goes on with it. Locked by the file's own lock.
    pub fn open_journal(&self) -> Result<File, StageError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let journal = openat(&self.folder, &self.journal_name()[..], flags, NEW_FILE_MODE);
        journal.map(File::from).map_err(|errno| self.failed("note the progress of", errno))
    }

    fn journal_name(&self) -> Vec<u8> {
        part_name_of(&[&self.file_name, &b".journal"[..]].concat())
    }

    /// The file to write into; empty at first.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// For whoever wants the last wait for the disk to be short.
    pub fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    /// Whether the file has no byte yet, from this transfer or one before it.
    pub fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.len() == 0)
    }

    /// Bytes that the file takes on the disk.
    pub fn stored_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.blocks().saturating_mul(BLOCK_BYTES))
    }

    /// Empties the file, to begin again.
    pub fn restart(&self) -> Result<(), StageError> {
        self.file.set_len(0).map_err(|source| self.write_failed(source))
    }

    /// Where the file will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Says so early if `size` bytes will not fit.
    pub fn check_room(&self, size: u64) -> Result<(), StageError> {
        let volume = fstatvfs(&self.folder).map_err(|errno| self.failed("measure", errno))?;
        let free_bytes = volume.f_bavail.saturating_mul(volume.f_frsize);
        if size <= free_bytes {
            return Ok(());
        }
        Err(StageError::NoSpace { path: self.target.clone(), needed_bytes: size, free_bytes })
    }

    /// An error in writing, for whoever writes to [`Staged::file`].
    pub fn write_failed(&self, source: io::Error) -> StageError {
        self.file_failed("write", source)
    }

    /// Gives the file its final name. Blocks until that is as durable as asked for. Where the system fails to
    /// write the file to the disk, nothing of it is kept.
    pub fn publish(
        mut self,
        existing: Existing,
        durability: Durability,
    ) -> Result<PathBuf, StageError> {
        if durability == Durability::Synced
            && let Err(source) = self.syncer.finish()
        {
            let failed = StageError::Unsynced { path: self.target.clone(), source };
            // The system counts as written what it failed to write (fsync(2)): read again it would look sound,
            // and the next sync would succeed without it.
            self.discard();
            return Err(failed);
        }
        self.rename(existing)?;
        let _ = unlinkat(&self.folder, &self.journal_name()[..], AtFlags::empty());
        self.leftovers = Leftovers::Keep;
        self.new_folders.keep();
        if durability == Durability::Synced {
            sync_folder(&self.folder)
                .and_then(|()| self.new_folders.sync())
                .map_err(|errno| self.failed("sync the folder of", errno))?;
        }
        Ok(self.target.clone())
    }

    /// Removes the unfinished file, because the final name has the very content already. Blocks until that is as
    /// durable as asked for: whoever brought it may have died before it was synced, or may not have waited.
    pub fn give_way_to_existing(self, durability: Durability) -> Result<(), StageError> {
        let synced = match durability {
            Durability::Synced => self.sync_existing(),
            Durability::Unsynced => Ok(()),
        };
        self.discard();
        synced
    }

    fn sync_existing(&self) -> Result<(), StageError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&self.folder, &self.file_name[..], flags, Mode::empty())
            .and_then(fsync)
            .and_then(|()| sync_folder(&self.folder))
            .map_err(|errno| self.failed("sync", errno))
    }

    /// Removes the unfinished file and its notes: the transfer has nothing to bring.
    pub fn discard(mut self) {
        let _ = unlinkat(&self.folder, &self.journal_name()[..], AtFlags::empty());
        self.leftovers = Leftovers::Discard;
    }

    fn rename(&self, existing: Existing) -> Result<(), StageError> {
        let (part, name) = (&self.part_name[..], &self.file_name[..]);
        let renamed = match existing {
            Existing::Replace => renameat(&self.folder, part, &self.folder, name),
            Existing::Refuse => {
                let flags = RenameFlags::NOREPLACE;
                match renameat_with(&self.folder, part, &self.folder, name, flags) {
                    // This file system cannot do it in one step; a link does not replace either.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        linkat(&self.folder, part, &self.folder, name, AtFlags::empty())
                            .and_then(|()| unlinkat(&self.folder, part, AtFlags::empty()))
                    }
                    result => result,
                }
            }
        };
        renamed.map_err(|errno| match errno {
            Errno::EXIST => StageError::TargetExists(self.target.clone()),
            errno => self.failed("rename the finished", errno),
        })
    }

    fn failed(&self, step: &'static str, errno: Errno) -> StageError {
        self.file_failed(step, errno.into())
    }

    fn file_failed(&self, step: &'static str, source: io::Error) -> StageError {
        StageError::File { step, path: self.target.clone(), source }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.syncer.has_failed() {
            // As after a sync that fails at the end: what is here cannot be told from what is on the disk.
            let _ = unlinkat(&self.folder, &self.journal_name()[..], AtFlags::empty());
            self.leftovers = Leftovers::Discard;
        }
        if self.leftovers == Leftovers::Discard {
            // Removed while it is still locked, so that nobody else has begun to use it.
            let _ = unlinkat(&self.folder, &self.part_name[..], AtFlags::empty());
        }
    }
}

fn is_folder(folder: &OwnedFd, name: &[u8]) -> bool {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// The name under which a file is received; the hash tells names apart that are too long for it.
fn part_name_of(file_name: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(file_name).to_hex();
    part_name(file_name, &hash[..16])
}

/// Opens and locks the unfinished file; `None` if another process has it.
fn take_part(folder: &OwnedFd, part_name: &[u8]) -> io::Result<Option<File>> {
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for _ in 0..RACES_MAX {
        let part = openat(folder, part_name, flags, NEW_FILE_MODE)?;
        match flock(&part, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            result => result?,
        }
        let stat = fstat(&part)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() || stat.st_nlink > 1 {
            // Not a file of ours: a hard link's content is somebody else's too.
            unlinkat(folder, part_name, AtFlags::empty())?;
            continue;
        }
        // Its last owner may have renamed or removed it between our opening and our locking it.
        match statat(folder, part_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino) => {
                return Ok(Some(File::from(part)));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use towline_proto::name::RemoteName;

    use super::{Durability, Existing, Leftovers, StageError, Staged};

    fn create(base: &Path, name: &str) -> Result<Staged, StageError> {
        Staged::create(base, &RemoteName::parse(name.as_bytes()).unwrap(), Leftovers::Discard)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_final_name_appears_at_once_with_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("downloads/here");
        let staged = create(&base, "a/b/file").unwrap();
        staged.file().as_ref().write_all(b"content").unwrap();
        assert_eq!(names(&base.join("a/b")), [".file.towline-part"]);
        let path = staged.publish(Existing::Replace, Durability::Synced).unwrap();
        assert_eq!(path, base.join("a/b/file"));
        assert_eq!(std::fs::read(path).unwrap(), b"content");
        assert_eq!(names(&base.join("a/b")), ["file"]);
    }

    #[test]
    fn what_is_not_published_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "old").unwrap();
        drop(create(folder.path(), "file").unwrap());
        drop(create(folder.path(), "new/folder/file").unwrap());
        assert_eq!(names(folder.path()), ["file"]);
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"old");
    }

    #[test]
    fn two_transfers_of_one_target_exclude_each_other_and_the_lock_dies_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = create(folder.path(), "file").unwrap();
        assert!(matches!(create(folder.path(), "file"), Err(StageError::Busy(_))));
        drop(first);
        assert!(create(folder.path(), "file").is_ok());
    }

    #[test]
    fn what_a_dead_transfer_left_is_emptied_and_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".file.towline-part"), "left behind").unwrap();
        let staged = create(folder.path(), "file").unwrap();
        assert_eq!(staged.file().metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_resumable_transfer_leaves_its_bytes_and_notes_and_takes_them_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let name = RemoteName::parse(b"new/file").unwrap();
        let resume = || Staged::create(folder.path(), &name, Leftovers::Keep).unwrap();
        let staged = resume();
        staged.file().as_ref().write_all(b"some").unwrap();
        staged.open_journal().unwrap().write_all(b"notes").unwrap();
        drop(staged);
        let staged = resume();
        assert_eq!(staged.file().metadata().unwrap().len(), 4);
        assert_eq!(staged.open_journal().unwrap().metadata().unwrap().len(), 5);
        staged.publish(Existing::Refuse, Durability::Synced).unwrap();
        assert_eq!(names(&folder.path().join("new")), ["file"]);
    }

    #[test]
    fn a_final_name_that_is_taken_is_not_replaced_unless_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "precious").unwrap();
        let staged = create(folder.path(), "file").unwrap();
        let refused = staged.publish(Existing::Refuse, Durability::Unsynced);
        assert!(matches!(refused, Err(StageError::TargetExists(_))));
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"precious");
    }

    #[test]
    fn no_link_below_the_folder_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (base, outside) = (folder.path().join("base"), folder.path().join("outside"));
        std::fs::create_dir_all(&base).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "precious").unwrap();
        symlink(&outside, base.join("sub")).unwrap();
        assert!(matches!(create(&base, "sub/file"), Err(StageError::Folder { .. })));
        symlink(outside.join("file"), base.join(".file.towline-part")).unwrap();
        assert!(matches!(create(&base, "file"), Err(StageError::File { .. })));
        std::fs::hard_link(outside.join("file"), base.join(".hard.towline-part")).unwrap();
        drop(create(&base, "hard").unwrap());
        assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"precious");
    }

    #[test]
    fn a_link_at_the_final_name_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), "precious").unwrap();
        symlink("precious", folder.path().join("file")).unwrap();
        create(folder.path(), "file")
            .unwrap()
            .publish(Existing::Replace, Durability::Unsynced)
            .unwrap();
        assert_eq!(std::fs::read(folder.path().join("precious")).unwrap(), b"precious");
        assert!(std::fs::symlink_metadata(folder.path().join("file")).unwrap().is_file());
    }

    #[test]
    fn a_folder_in_the_way_and_a_full_disk_are_told_before_anything_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("file")).unwrap();
        assert!(matches!(create(folder.path(), "file"), Err(StageError::TargetIsFolder(_))));
        let staged = create(folder.path(), "other").unwrap();
        assert!(staged.check_room(1).is_ok());
        assert!(matches!(staged.check_room(1 << 60), Err(StageError::NoSpace { .. })));
    }

    #[test]
    fn a_name_of_255_bytes_is_received() {
        let folder = tempfile::tempdir().unwrap();
        let name = "n".repeat(255);
        create(folder.path(), &name)
            .unwrap()
            .publish(Existing::Replace, Durability::Unsynced)
            .unwrap();
        assert_eq!(names(folder.path()), [name]);
    }
}
