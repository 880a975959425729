//! The folder beside or in a tree's place in which it is built, locked against other processes.
//!
//! Each attempt builds a generation of its own, `0/`, `1/` and so on, and takes from earlier ones what is verified
//! again: nothing is published that the attempt at hand did not ask for.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, fstat, fstatvfs, open, openat, renameat,
    renameat_with, statat, syncfs, unlinkat,
};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

use super::chain::{FolderChain, Missing};
use super::journal::{Journal, Noted};
use super::placing::place;
use super::target::{Inode, TargetTree};
use super::writer::{PutError, TreeWriter};
use crate::folders::{NewFolders, OPEN_FOLDER, make_folder, remove_folder, sync_folder};
use crate::own::{self, Kind, beside_part};
use crate::staged::{Base, Durability, Existing, StageError};

/// What is written waits for the disk together, up to so many files or bytes.
const PENDING_FILES_MAX: usize = 4_096;
const PENDING_BYTES_MAX: u64 = 64 << 20;

/// What tells the folder in which a tree is built from other names.
const BUILDING_ENDING: &[u8] = b".tree";

/// A tree that is being received.
#[derive(Debug)]
pub struct StagedTree {
    target: TargetTree,
    /// What holds the folder in which the tree is built, and its name there.
    parent: OwnedFd,
    building_name: Vec<u8>,
    building: OwnedFd,
    generation_name: Vec<u8>,
    generation: Arc<OwnedFd>,
    /// What earlier attempts built, the latest first.
    earlier: Vec<Generation>,
    journal: Journal,
    noted: Noted,
    new_folders: NewFolders,
    durability: Durability,
    pending: Mutex<Pending>,
    /// Whether the system has failed to write something to the disk.
    is_spoilt: AtomicBool,
}

/// What one attempt built.
#[derive(Debug)]
struct Generation {
    number: u32,
    folder: Arc<OwnedFd>,
}

impl Generation {
    fn chain(&self) -> FolderChain {
        FolderChain::new(Arc::clone(&self.folder), Missing::Fail)
    }
}

/// Files that are written and wait for the disk before they get their final names.
#[derive(Debug, Default)]
struct Pending {
    files: Vec<(RemoteName, Existing)>,
    bytes: u64,
}

impl StagedTree {
    /// Begins a tree, or goes on with what an earlier, dead attempt left of it. Blocks.
    pub fn create(target: TargetTree, durability: Durability) -> Result<Self, StageError> {
        let failed = |errno: Errno| StageError::Folder {
            path: target.path().to_owned(),
            source: errno.into(),
        };
        let mut new_folders = NewFolders::default();
        let (parent, building_name) = if let Some(root) = &target.existing {
            (openat(root, c".", OPEN_FOLDER, Mode::empty()), beside_part(b"", BUILDING_ENDING))
        } else {
            new_folders
                .make_base(&target.parent)
                .map_err(|(path, errno)| StageError::Folder { path, source: errno.into() })?;
            let name = beside_part(&target.name, BUILDING_ENDING);
            (open(&target.parent, OPEN_FOLDER, Mode::empty()), name)
        };
        let parent = parent.map_err(failed)?;
        let building =
            own::take(parent.as_fd(), &building_name, Kind::Folder).map_err(|error| {
                let name = OsStr::from_bytes(&building_name);
                let at = if target.is_new() {
                    target.path().with_file_name(name)
                } else {
                    target.path().join(name)
                };
                error.on_the_way_to(target.path(), at, failed)
            })?;
        new_folders.keep();
        let (number, earlier) = generations(&building).map_err(failed)?;
        let generation_name = number.to_string().into_bytes();
        make_folder(&building, &generation_name).map_err(failed)?;
        let generation =
            openat(&building, &generation_name[..], OPEN_FOLDER, Mode::empty()).map_err(failed)?;
        let (journal, noted) = open_journal(&building)
            .map_err(|source| StageError::Folder { path: target.path().to_owned(), source })?;
        Ok(Self {
            target,
            parent,
            building_name,
            building,
            generation_name,
            generation: Arc::new(generation),
            earlier,
            journal,
            noted,
            new_folders,
            durability,
            pending: Mutex::default(),
            is_spoilt: AtomicBool::new(false),
        })
    }

    /// Where the tree will be.
    pub fn target(&self) -> &TargetTree {
        &self.target
    }

    /// The folder below which a file that comes by pieces goes: where the tree is built, or what is there already.
    pub fn base(&self) -> Base {
        self.target.base().unwrap_or_else(|| {
            Base::opened(Arc::clone(&self.generation), self.target.path().to_owned())
        })
    }

    /// Notes of what is written.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// When this attempt began, by the file system's clock; `None` unless the file system takes some different names
    /// for the same, at least those that differ only in case.
    pub fn began_among_namesakes_ns(&self) -> Option<i64> {
        statat(&self.building, c"JOURNAL", AtFlags::SYMLINK_NOFOLLOW).ok()?;
        fstat(&self.generation).ok().map(|stat| Inode::of(&stat).changed_ns)
    }

    /// What earlier attempts noted.
    pub fn noted(&self) -> &Noted {
        &self.noted
    }

    /// Somebody who writes into the tree, for one thread.
    pub fn writer(&self) -> TreeWriter {
        let earlier = self.earlier.iter().map(Generation::chain);
        TreeWriter::new(self.chain(), earlier.collect())
    }

    /// Removes what is left of earlier attempts, once all that is of use was taken over.
    pub fn remove_earlier(&self) {
        for Generation { number, .. } in &self.earlier {
            // What stays is looked at once more, and removed, by the next attempt.
            let _ = remove_folder(&self.building, number.to_string().as_bytes());
        }
    }

    /// The way down in what this attempt builds; missing folders are made.
    pub fn chain(&self) -> FolderChain {
        FolderChain::new(Arc::clone(&self.generation), Missing::Make)
    }

    /// Makes a folder of a tree that is here and has nothing of that name, or finds that there is one by now; tells
    /// whether it is new. It is noted before, for whoever goes on with this attempt: it may end in between.
    pub fn make_folder(&self, here: &mut FolderChain, path: &RemoteName) -> Result<bool, PutError> {
        self.journal.note_folder(path).map_err(|error| PutError::of_io("note", &error))?;
        here.make_folder(path)
    }

    /// Says so early if so many bytes will not fit.
    pub fn check_room(&self, needed_bytes: u64) -> Result<(), StageError> {
        let volume = fstatvfs(&self.building).map_err(|errno| self.failed("measure", errno))?;
        let free_bytes = volume.f_bavail.saturating_mul(volume.f_frsize);
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        Err(StageError::NoSpace { path: self.target.path().to_owned(), needed_bytes, free_bytes })
    }

    /// Renames written files to their final names in batches, synced first if that was asked for; returns those that
    /// failed. In a new tree there is nothing to do before it is whole. Blocks.
    pub fn place(
        &self,
        files: impl Iterator<Item = (RemoteName, Existing)>,
        bytes: u64,
    ) -> Result<Vec<(RemoteName, PutError)>, StageError> {
        if self.target.is_new() {
            return Ok(Vec::new());
        }
        let due = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.files.extend(files);
            pending.bytes += bytes;
            let is_due = self.durability == Durability::Unsynced
                || pending.files.len() >= PENDING_FILES_MAX
                || pending.bytes >= PENDING_BYTES_MAX;
            if is_due { std::mem::take(&mut *pending) } else { Pending::default() }
        };
        self.name_finally(due.files)
    }

    fn name_finally(
        &self,
        files: Vec<(RemoteName, Existing)>,
    ) -> Result<Vec<(RemoteName, PutError)>, StageError> {
        let Some(mut to) = self.target.chain(Missing::Make).filter(|_| !files.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut from = self.chain();
        self.sync()?;
        let mut failures = Vec::new();
        for (path, existing) in files {
            let placed = place(&mut from, &mut to, &path, existing, self.durability);
            failures.extend(placed.err().map(|errno| (path, PutError::new("name", errno))));
        }
        Ok(failures)
    }

    /// Waits until all that is written is on the disk, where that was asked for. The descriptor was opened before the
    /// first write, so that a failure of any is seen (syncfs(2)). Where it fails, nothing of this attempt is kept, nor of
    /// those before it.
    fn sync(&self) -> Result<(), StageError> {
        if self.durability == Durability::Unsynced {
            return Ok(());
        }
        syncfs(&self.building).map_err(|errno| {
            // The system counts as written what it failed to write: read again it would look sound, and the next sync
            // would succeed without it. Who still writes into it goes on for nothing; the rest goes when they are done.
            self.is_spoilt.store(true, Ordering::Relaxed);
            self.remove_building();
            StageError::Unsynced { path: self.target.path().to_owned(), source: errno.into() }
        })
    }

    /// Gives what is still waiting its final names, so that folders can be given their times.
    pub fn place_rest(&self) -> Result<Vec<(RemoteName, PutError)>, StageError> {
        let rest =
            std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.name_finally(rest.files)
    }

    /// Ends the tree: a new one gets its name now. Blocks until all is as durable as asked for.
    pub fn publish(&self) -> Result<PathBuf, StageError> {
        self.sync()?;
        if self.target.is_new() {
            self.name_root()?;
        }
        self.remove_building();
        if self.durability == Durability::Synced {
            sync_folder(&self.parent)
                .and_then(|()| self.new_folders.sync())
                .map_err(|errno| self.failed("sync the folder of", errno))?;
        }
        Ok(self.target.path().to_owned())
    }

    fn name_root(&self) -> Result<(), StageError> {
        let (generation, name) = (&self.generation_name[..], &self.target.name[..]);
        let is_ours = own::leads_to(&self.building, generation, &self.generation);
        if !is_ours.map_err(|errno| self.failed("look at", errno))? {
            return Err(StageError::Replaced(self.target.path().to_owned()));
        }
        let (building, flags) = (&self.building, RenameFlags::NOREPLACE);
        renameat_with(building, generation, &self.parent, name, flags)
            .or_else(|errno| match errno {
                // Without the flag, a folder takes the place of an empty one at most.
                Errno::INVAL | Errno::NOSYS => renameat(building, generation, &self.parent, name),
                errno => Err(errno),
            })
            .map_err(|errno| match errno {
                Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR => {
                    StageError::TargetExists(self.target.path().to_owned())
                }
                errno => self.failed("rename the finished", errno),
            })
    }

    fn remove_building(&self) {
        // A file that is open stays in its folder on some file systems, by another name.
        self.journal.close();
        // What stays is taken over, and removed, by the next attempt.
        let _ = remove_folder(&self.parent, &self.building_name);
    }

    fn failed(&self, step: &'static str, errno: Errno) -> StageError {
        StageError::File { step, path: self.target.path().to_owned(), source: errno.into() }
    }
}

/// Where nothing was written, nothing stays.
impl Drop for StagedTree {
    fn drop(&mut self) {
        if *self.is_spoilt.get_mut() {
            self.remove_building();
            return;
        }
        let _ = unlinkat(&self.building, &self.generation_name[..], AtFlags::REMOVEDIR);
        let is_noted = statat(&self.building, c"journal", AtFlags::empty())
            .is_ok_and(|journal| journal.st_size > 0);
        if !is_noted && self.earlier.is_empty() {
            let _ = unlinkat(&self.building, c"journal", AtFlags::empty());
            let _ = unlinkat(&self.parent, &self.building_name[..], AtFlags::REMOVEDIR);
        }
    }
}

/// The number of the next generation, and those that are there, the latest first.
fn generations(building: &OwnedFd) -> Result<(u32, Vec<Generation>), Errno> {
    let mut numbers: Vec<u32> = Vec::new();
    for entry in Dir::read_from(building)? {
        numbers.extend(entry?.file_name().to_string_lossy().parse::<u32>());
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let next = numbers.first().map_or(0, |latest| latest.saturating_add(1));
    let flags = OPEN_FOLDER | OFlags::NOFOLLOW;
    let open = |number: u32| {
        let folder = openat(building, number.to_string(), flags, Mode::empty())?;
        Ok(Generation { number, folder: Arc::new(folder) })
    };
    Ok((next, numbers.into_iter().map(open).collect::<Result<_, Errno>>()?))
}

fn open_journal(building: impl AsFd) -> io::Result<(Journal, Noted)> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(building, c"journal", flags, Mode::RUSR | Mode::WUSR)?;
    Journal::open(File::from(file))
}
