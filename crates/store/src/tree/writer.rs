//! Putting files, folders and links into a tree that is being built.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, openat, symlinkat, unlinkat};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

use super::attributes::{Attributes, modified_ns};
use super::chain::FolderChain;
use super::journal::Noted;
use crate::folders::{make_folder, rename_noreplace};
use crate::own::{beside_part, part_name_of};
use crate::staged::{JOURNAL_ENDING, is_of_the_disk};

/// Why something could not be put into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {step} it: {}", self.reason())]
pub struct PutError {
    step: &'static str,
    errno: Errno,
}

/// Puts things into one tree; for one thread.
#[derive(Debug)]
pub struct TreeWriter {
    tree: FolderChain,
    /// What earlier attempts built, the latest first.
    earlier: Vec<FolderChain>,
}

impl PutError {
    /// The file system takes this name for that of something else in the tree.
    pub const TAKEN_FOR_THE_SAME: Self = Self { step: "create", errno: Errno::EXIST };

    pub(super) fn new(step: &'static str, errno: Errno) -> Self {
        Self { step, errno }
    }

    pub(super) fn of_io(step: &'static str, error: &std::io::Error) -> Self {
        Self::new(step, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// The system's reason, where the whole disk is concerned and not this name alone.
    pub fn of_the_disk(&self) -> Option<std::io::Error> {
        is_of_the_disk(self.errno).then(|| self.errno.into())
    }

    fn reason(&self) -> String {
        match self.errno {
            Errno::EXIST if self.step == "name" => {
                "something has come there meanwhile, or has a name that this file system takes for the same".into()
            }
            Errno::EXIST => "this file system takes its name and another one's for the same".into(),
            Errno::NAMETOOLONG => "the name is too long for this file system".into(),
            Errno::INVAL | Errno::ILSEQ => "this file system cannot hold the name".into(),
            Errno::NOTDIR | Errno::LOOP => "something that is no folder is in the way".into(),
            Errno::ISDIR => "a folder is there".into(),
            errno => std::io::Error::from(errno).to_string(),
        }
    }
}

impl TreeWriter {
    pub(super) fn new(tree: FolderChain, earlier: Vec<FolderChain>) -> Self {
        Self { tree, earlier }
    }

    /// Writes a file that is not there yet; where that fails, it is not there afterwards either.
    pub fn write_file(
        &mut self,
        path: &RemoteName,
        content: &[u8],
        attributes: Attributes,
    ) -> Result<(), PutError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (parent, name) = (self.tree.parent_of(path), path.file_name());
        let parent = parent.map_err(|errno| PutError::new("create", errno))?;
        let (mode, must_be_set) = attributes.new_file();
        let file =
            openat(parent, name, flags, mode).map_err(|errno| PutError::new("create", errno))?;
        let mode = must_be_set.then_some(mode);
        let filled = fill(&mut File::from(file), content, mode, attributes);
        if filled.is_err() {
            let _ = unlinkat(parent, name, AtFlags::empty());
        }
        filled
    }

    /// Makes a folder that is not there yet. If it is there, this file system takes another name of the tree for the
    /// same.
    pub fn make_folder(&mut self, path: &RemoteName) -> Result<(), PutError> {
        match self.tree.make_folder(path) {
            Ok(false) => Err(PutError::TAKEN_FOR_THE_SAME),
            made => made.map(drop),
        }
    }

    /// Makes a symbolic link.
    pub fn make_link(&mut self, path: &RemoteName, target: &[u8]) -> Result<(), PutError> {
        let made = self
            .tree
            .parent_of(path)
            .and_then(|parent| symlinkat(target, parent, path.file_name()));
        made.map_err(|errno| PutError::new("make", errno))
    }

    /// Whether an earlier attempt left anything.
    pub fn has_earlier(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// Takes over a whole file that an earlier attempt left, if it is of this size and time and its content, read
    /// again, is what was verified then.
    pub fn take_over(
        &mut self,
        path: &RemoteName,
        size: u64,
        attributes: Attributes,
        noted: &Noted,
    ) -> bool {
        if !noted.knows(path) {
            return false;
        }
        let is_verified = |chain: &mut FolderChain| {
            let hash = hash_of(chain, path, size, Some(attributes))?;
            noted.has(path, hash).then_some(())
        };
        let Self { tree, earlier } = self;
        earlier.iter_mut().any(|chain| {
            is_verified(chain).is_some() && move_over(chain, tree, path, path.file_name()).is_ok()
        })
    }

    /// Takes over what an earlier attempt left of a file that comes by pieces, verified by whoever goes on with it.
    pub fn take_over_unfinished(&mut self, path: &RemoteName) {
        let name = path.file_name();
        let journal = beside_part(name, JOURNAL_ENDING);
        let part = part_name_of(name);
        let Self { tree, earlier } = self;
        // The journal first: a part without one is fetched anew, a journal without a part says nothing. A killed attempt
        // may have left them apart.
        for name in [&journal, &part] {
            let _ = earlier.iter_mut().any(|chain| move_over(chain, tree, path, name).is_ok());
        }
    }
}

impl FolderChain {
    /// Makes a folder, or finds that there is one; tells whether it is new.
    pub fn make_folder(&mut self, path: &RemoteName) -> Result<bool, PutError> {
        let made = self.parent_of(path).and_then(|parent| make_folder(parent, path.file_name()));
        made.map_err(|errno| PutError::new("make", errno))
    }

    /// The BLAKE3 of a file of this size; `None` where there is none, or it cannot be read.
    pub fn hash(&mut self, path: &RemoteName, size: u64) -> Option<blake3::Hash> {
        hash_of(self, path, size, None)
    }

    /// Gives a folder its times and permissions, where they differ.
    pub fn set_folder(
        &mut self,
        path: &RemoteName,
        attributes: Attributes,
    ) -> Result<(), PutError> {
        self.parent_of(path)
            .and_then(|parent| attributes.set_folder(parent, path.file_name()))
            .map_err(|errno| PutError::new("set the times and permissions of", errno))
    }
}

/// Gives a new file its content, permissions where they must be set, and times.
fn fill(
    file: &mut File,
    content: &[u8],
    mode: Option<Mode>,
    attributes: Attributes,
) -> Result<(), PutError> {
    if !content.is_empty() {
        file.write_all(content).map_err(|error| PutError::of_io("write", &error))?;
    }
    if let Some(mode) = mode {
        fchmod(&*file, mode).map_err(|errno| PutError::new("set the permissions of", errno))?;
    }
    attributes.set_times(&*file).map_err(|errno| PutError::new("set the time of", errno))
}

/// The hash of a file of that size, and that time where one is asked for.
fn hash_of(
    chain: &mut FolderChain,
    path: &RemoteName,
    size: u64,
    attributes: Option<Attributes>,
) -> Option<blake3::Hash> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let parent = chain.parent_of(path).ok()?;
    let file: OwnedFd = openat(parent, path.file_name(), flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    let is_alike = FileType::from_raw_mode(stat.st_mode).is_file()
        && u64::try_from(stat.st_size) == Ok(size)
        && attributes.is_none_or(|there| there.is_modified_as(modified_ns(&stat)));
    if !is_alike {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::from(file).take(size)).ok()?;
    Some(hasher.finalize())
}

fn move_over(
    from: &mut FolderChain,
    to: &mut FolderChain,
    path: &RemoteName,
    name: &[u8],
) -> Result<(), Errno> {
    let (from, to) = (from.parent_of(path)?, to.parent_of(path)?);
    rename_noreplace(from, name, to, name)
}
