//! A file on its way in: written beside its final name, which it takes at once when it is whole.
//!
//! Whatever happens before that, also `kill -9` or a power cut, the final name holds what it held.

mod error;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::unlinkat;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::fs::{fstatvfs, fsync, openat, renameat, statat};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

pub use self::error::StageError;
pub(crate) use self::error::is_of_the_disk;
pub use crate::folders::Base;
use crate::folders::{NewFolders, rename_noreplace, sync_folder};
use crate::own::{self, Kind, beside_part, part_name_of};
use crate::seen::BLOCK_BYTES;
use crate::syncer::Syncer;
use crate::tree::Attributes;

/// How what has a name already is opened: through no link, and without waiting for anybody.
const OPEN_EXISTING: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What tells a file's journal from its part.
pub(crate) const JOURNAL_ENDING: &[u8] = b".journal";

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

/// What has the final name before it is given.
#[derive(Debug)]
pub enum AtTarget {
    /// Nothing.
    Nothing,
    /// A file, open for reading.
    File(File),
    /// Something else, or a file that cannot be read.
    Other,
}

/// An unfinished file, locked against other processes.
#[derive(Debug)]
pub struct Staged {
    target: PathBuf,
    folder: OwnedFd,
    file_name: Vec<u8>,
    part_name: Vec<u8>,
    file: Arc<File>,
    /// Once somebody has asked for it.
    journal: OnceLock<File>,
    syncer: Syncer,
    new_folders: NewFolders,
    leftovers: Leftovers,
}

impl Staged {
    /// Begins `base/name`, or goes on with what an earlier, dead transfer left of it, making the folders that
    /// are missing. Below `base`, no link is followed. Blocks.
    pub fn create(
        base: &Base,
        name: &RemoteName,
        leftovers: Leftovers,
    ) -> Result<Self, StageError> {
        let mut new_folders = NewFolders::default();
        let (folder, folder_path) = new_folders
            .open(base, name)
            .map_err(|(path, errno)| StageError::Folder { path, source: errno.into() })?;
        let file_name = name.file_name().to_vec();
        let target = folder_path.join(OsStr::from_bytes(&file_name));
        match type_of(&folder, &file_name) {
            None | Some(FileType::RegularFile | FileType::Symlink) => {}
            Some(FileType::Directory) => return Err(StageError::TargetIsFolder(target)),
            Some(_) => return Err(StageError::TargetIsSpecial(target)),
        }
        let part_name = part_name_of(&file_name);
        let file = own::take(folder.as_fd(), &part_name, Kind::File).map_err(|error| {
            let at = target.with_file_name(OsStr::from_bytes(&part_name));
            error.on_the_way_to(&target, at, |errno| StageError::File {
                step: "create",
                path: target.clone(),
                source: errno.into(),
            })
        })?;
        let file = Arc::new(File::from(file));
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
            journal: OnceLock::new(),
            new_folders,
            leftovers,
        };
        if leftovers == Leftovers::Discard {
            staged.restart()?;
        }
        Ok(staged)
    }

    /// The notes beside the file, for whoever goes on with it: open at their beginning, and locked as long as the file is.
    pub fn open_journal(&self) -> Result<File, StageError> {
        let failed = |source| self.file_failed("note the progress of", source);
        let taken = if let Some(taken) = self.journal.get() {
            taken
        } else {
            let taken = self.take_journal()?;
            self.journal.get_or_init(|| taken)
        };
        let mut journal = taken.try_clone().map_err(failed)?;
        journal.rewind().map_err(failed)?;
        Ok(journal)
    }

    fn take_journal(&self) -> Result<File, StageError> {
        let name = self.journal_name();
        let journal = own::take(self.folder.as_fd(), &name, Kind::File).map_err(|error| {
            let at = self.target.with_file_name(OsStr::from_bytes(&name));
            error
                .on_the_way_to(&self.target, at, |errno| self.failed("note the progress of", errno))
        });
        journal.map(File::from)
    }

    fn journal_name(&self) -> Vec<u8> {
        beside_part(&self.file_name, JOURNAL_ENDING)
    }

    fn remove_journal(&self) {
        let _ = unlinkat(&self.folder, &self.journal_name()[..], AtFlags::empty());
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

    /// What has the final name now; no link is followed, and nothing waited for.
    pub fn at_target(&self) -> Result<AtTarget, StageError> {
        let name = &self.file_name[..];
        let stat = match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(AtTarget::Nothing),
            Err(errno) => return Err(self.failed("look at", errno)),
        };
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(AtTarget::Other);
        }
        let opened = openat(&self.folder, name, OPEN_EXISTING, Mode::empty());
        Ok(opened.map_or(AtTarget::Other, |file| AtTarget::File(File::from(file))))
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

    /// Gives the file the times and permissions that it will have.
    pub fn set_attributes(&self, attributes: Attributes) -> Result<(), StageError> {
        attributes.set(&*self.file).map_err(|errno| self.failed("set the time of", errno))
    }

    /// Gives them to the file that has the final name. One of somebody else keeps its own.
    pub fn set_existing_attributes(&self, attributes: Attributes) -> Result<(), StageError> {
        let existing = openat(&self.folder, &self.file_name[..], OPEN_EXISTING, Mode::empty());
        match existing.and_then(|existing| attributes.set(existing)) {
            Ok(()) | Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(self.failed("set the time of", errno)),
        }
    }

    /// An error in writing, for whoever writes to [`Staged::file`].
    pub fn write_failed(&self, source: io::Error) -> StageError {
        self.file_failed("write", source)
    }

    /// An error in reading what was noted beside the file.
    pub fn read_failed(&self, source: io::Error) -> StageError {
        self.file_failed("read the notes beside", source)
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
        // From the renaming on, another transfer may take both names: notes that are not locked here would be its own.
        if self.journal.get().is_none() {
            self.remove_journal();
        }
        self.rename(existing)?;
        if self.journal.get().is_some() {
            self.remove_journal();
        }
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
        openat(&self.folder, &self.file_name[..], OPEN_EXISTING, Mode::empty())
            .and_then(fsync)
            .and_then(|()| sync_folder(&self.folder))
            .map_err(|errno| self.failed("sync", errno))
    }

    /// Removes the unfinished file and its notes: the transfer has nothing to bring.
    pub fn discard(mut self) {
        self.remove_journal();
        self.leftovers = Leftovers::Discard;
    }

    fn rename(&self, existing: Existing) -> Result<(), StageError> {
        let (part, name) = (&self.part_name[..], &self.file_name[..]);
        let is_ours = own::leads_to(&self.folder, part, &*self.file);
        if !is_ours.map_err(|errno| self.failed("look at", errno))? {
            return Err(StageError::Replaced(self.target.with_file_name(OsStr::from_bytes(part))));
        }
        let renamed = match existing {
            Existing::Replace => renameat(&self.folder, part, &self.folder, name),
            Existing::Refuse => rename_noreplace(&self.folder, part, &self.folder, name),
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
            self.remove_journal();
            self.leftovers = Leftovers::Discard;
        }
        if self.leftovers == Leftovers::Discard {
            // Removed while it is still locked, so that nobody else has begun to use it.
            let _ = unlinkat(&self.folder, &self.part_name[..], AtFlags::empty());
        }
    }
}

fn type_of(folder: &OwnedFd, name: &[u8]) -> Option<FileType> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}
