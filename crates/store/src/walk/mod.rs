//! Walking a folder: what is in it, in order, from any path on, in little memory.
//!
//! Each folder is opened once, inside the one that is open above it, so that nobody who swaps folders and links
//! meanwhile leads the walk elsewhere.

mod names;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use towline_proto::limits::{LINK_BYTES_MAX, NAME_BYTES_MAX, NAME_DEPTH_MAX};
use towline_proto::name::{NameError, RemoteName};
use towline_proto::native::message::tree::{Depth, EntryKind};

use self::names::{Collector, Hint, Names};
use crate::beneath::Links;
use crate::filter::Filter;
use crate::local::{LocalRoot, OpenError};
use crate::seen::Seen;

/// Memory that the names of all folders on the way share, about.
const NAMES_BYTES_MAX: usize = 8 << 20;

/// Each folder gets at least this fraction (1/32) of the memory for names.
const SHARE_MIN: usize = 32;

/// Room for what the system tells of a folder at once.
const FOLDER_BUFFER_BYTES: usize = 32 * 1_024;

/// How many names are read from a folder between two looks at whether they are wanted.
const UNASKED_MAX: usize = 4_096;

/// How often something that is replaced while it is looked at is looked at again.
const LOOKS_MAX: usize = 4;

/// A walk over a folder, depth first and in the order of names, each folder before what is in it.
#[derive(Debug)]
pub struct Walk {
    root: Arc<LocalRoot>,
    depth: Depth,
    filter: Filter,
    shown: Option<Shown>,
    after: Option<RemoteName>,
    /// The folder that is walked, until its names are read.
    top: Option<Folder>,
    levels: Vec<Level>,
    /// Where the walk is: a path from the served folder.
    path: Vec<u8>,
    /// Bytes of it that name the folder that is walked, and the slash behind.
    prefix_bytes: usize,
    prefix_depth: usize,
    names_bytes_max: usize,
    buffer: Vec<u8>,
    name: Vec<u8>,
    has_unnamed: bool,
}

/// Tells whether what is at a path, from the served folder, is there for whoever asked.
type ShownFn = dyn Fn(&[u8]) -> bool + Send + Sync;

#[derive(Clone)]
struct Shown(Arc<ShownFn>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

/// Something in the folder that is walked.
#[derive(Debug)]
pub struct Found {
    /// Its path below that folder.
    pub path: RemoteName,
    /// What it is.
    pub kind: EntryKind,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// Why what it is, or what is in it, could not be learned.
    pub error: Option<OpenError>,
}

impl Found {
    /// A folder itself, as a walk over what is above it would find it at `path`.
    pub fn folder(folder: &LocalRoot, path: RemoteName) -> Self {
        let seen = folder.seen();
        let (modified_ns, mode) =
            seen.as_ref().map_or((0, 0), |seen| (seen.modified_ns, seen.mode));
        Self { path, kind: EntryKind::Folder, modified_ns, mode, error: seen.err() }
    }
}

/// What a step of a walk came to.
#[derive(Debug)]
pub enum Step {
    /// What comes next.
    Found(Found),
    /// Nothing: what was looked at does not belong to the walk.
    Nothing,
    /// The end of the walk.
    End,
}

/// What a walk holds while it stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Folders that are open.
    pub folders: usize,
    /// Memory that their names take, about, in bytes.
    pub names_bytes: usize,
    /// What those take up that were put aside in temporary files, in bytes.
    pub spilled_bytes: u64,
}

/// Why a walk ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// It was not wanted any more.
    #[error("not wanted any more")]
    GivenUp,
    /// The folder that is walked, or what was put aside of it, cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for WalkError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A folder that is open for reading.
#[derive(Debug)]
struct Folder {
    opened: OwnedFd,
    id: (u64, u64),
}

/// A folder on the way.
#[derive(Debug)]
struct Level {
    folder: Folder,
    names: Names,
    /// Bytes of the path that lead to it.
    path_bytes: usize,
    /// Whether the path after which the walk goes on is below it.
    is_on_way: bool,
}

/// What a look told.
enum Look {
    /// Nothing, or nothing that belongs to the walk.
    Nothing,
    /// Something else than a folder to go into.
    Leaf(EntryKind, Seen),
    /// A folder to go into.
    Folder(Folder, Seen),
    /// A folder that cannot be opened.
    Closed(OpenError, Seen),
}

impl Walk {
    /// Begins to walk `folder`, or the served folder itself, behind `after`, a path below it that need not exist any
    /// more.
    pub fn start(
        root: Arc<LocalRoot>,
        folder: Option<&RemoteName>,
        after: Option<RemoteName>,
        depth: Depth,
        filter: Filter,
    ) -> Result<Self, OpenError> {
        let looked_up = root.open_folder(folder)?;
        let seen = Seen::of(&fstat(&looked_up).map_err(OpenError::from)?);
        let opened = reopen(looked_up.as_fd()).map_err(OpenError::from)?;
        let path = folder.map_or_else(Vec::new, |folder| folder.as_bytes().to_vec());
        Ok(Self {
            root,
            depth,
            filter,
            shown: None,
            after,
            top: Some(Folder { opened, id: seen.id() }),
            levels: Vec::new(),
            prefix_bytes: if path.is_empty() { 0 } else { path.len() + 1 },
            prefix_depth: folder.map_or(0, |folder| folder.components().count()),
            path,
            names_bytes_max: NAMES_BYTES_MAX,
            buffer: Vec::with_capacity(FOLDER_BUFFER_BYTES),
            name: Vec::new(),
            has_unnamed: false,
        })
    }

    /// The same walk, which passes over what is not shown, and over all that is below that.
    pub fn showing(self, shown: Arc<ShownFn>) -> Self {
        Self { shown: Some(Shown(shown)), ..self }
    }

    /// Looks at one name, so that whoever walks can stand still between any two. After an error, so also as soon as it is
    /// not wanted, nothing more is to be had.
    pub fn step(&mut self, is_wanted: &dyn Fn() -> bool) -> Result<Step, WalkError> {
        if let Some(top) = self.top.take() {
            let is_on_way = self.after.is_some();
            self.enter(top, is_on_way, is_wanted)?;
        }
        let Some(level) = self.levels.last_mut() else { return Ok(Step::End) };
        self.path.truncate(level.path_bytes);
        let Some(hint) = level.names.next(&mut self.name)? else {
            self.levels.pop();
            return Ok(Step::Nothing);
        };
        if !is_wanted() {
            return Err(WalkError::GivenUp);
        }
        Ok(self.visit(hint, is_wanted)?.map_or(Step::Nothing, Step::Found))
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        let names_bytes = self.levels.iter().map(|level| level.names.held_bytes()).sum();
        let spilled_bytes = self.levels.iter().map(|level| level.names.spilled_bytes()).sum();
        Held { folders: self.levels.len(), names_bytes, spilled_bytes }
    }

    /// Looks at the name that was read last, and goes into it where it is a folder.
    fn visit(
        &mut self,
        hint: Hint,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Found>, WalkError> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&self.name);
        let Some(path) = self.nameable() else { return Ok(None) };
        let is_passed = self.way_here().is_some_and(|passed| passed == self.name);
        let look = self.look(hint);
        let (kind, seen, error) = match look {
            Ok(Look::Nothing) => return Ok(None),
            Ok(Look::Leaf(kind, seen)) => (kind, Some(seen), None),
            Ok(Look::Closed(error, seen)) => (EntryKind::Folder, Some(seen), Some(error)),
            Ok(Look::Folder(folder, seen)) => {
                let error = match self.enter(folder, is_passed, is_wanted) {
                    Ok(()) => None,
                    Err(WalkError::Io(error)) => Some(OpenError::Io(error)),
                    Err(given_up @ WalkError::GivenUp) => return Err(given_up),
                };
                (EntryKind::Folder, Some(seen), error)
            }
            Err(errno) if hint == Hint::Folder => (EntryKind::Folder, None, Some(errno.into())),
            // Its type is unknown: the rules treat it as something that is not a folder.
            Err(_) if !self.admits(false) => return Ok(None),
            Err(errno) => (EntryKind::Other, None, Some(errno.into())),
        };
        let modified_ns = seen.map_or(0, |seen| seen.modified_ns);
        let mode = seen.map_or(0, |seen| seen.mode);
        let found = Found { path, kind, modified_ns, mode, error };
        // `after` itself and the folders above it were reported on an earlier page.
        Ok(if is_passed { None } else { Some(found) })
    }

    /// The path below the folder that is walked. There is none where something belongs to an unfinished transfer, or
    /// lies so deep that nobody can ask for it.
    fn nameable(&mut self) -> Option<RemoteName> {
        let depth = self.prefix_depth + self.levels.len();
        let is_askable = self.path.len() <= NAME_BYTES_MAX && depth <= NAME_DEPTH_MAX;
        match RemoteName::parse(&self.path[self.prefix_bytes..]) {
            Ok(path) if is_askable => return Some(path),
            Err(NameError::Reserved) => {}
            _ if self.has_unnamed => {}
            _ => {
                self.has_unnamed = true;
                let folder = RemoteName::parse(&self.path[..self.path.len().min(NAME_BYTES_MAX)]);
                let place = folder.map_or_else(|error| error.to_string(), |name| name.to_string());
                tracing::warn!("a path is too long or too deep to be listed: {place}");
            }
        }
        None
    }

    /// The component of `after` in the folder at hand, if the walk goes on behind it.
    fn way_here(&self) -> Option<&[u8]> {
        let is_on_way = self.levels.last().is_some_and(|level| level.is_on_way);
        let after = self.after.as_ref().filter(|_| is_on_way)?;
        after.components().nth(self.levels.len().checked_sub(1)?)
    }

    fn look(&self, hint: Hint) -> Result<Look, Errno> {
        for _ in 0..LOOKS_MAX {
            match self.look_once(hint) {
                // Gone, or replaced by something else than it was a moment before.
                Err(Errno::NOENT) => return Ok(Look::Nothing),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => {}
                looked => return looked,
            }
        }
        Ok(Look::Nothing)
    }

    fn look_once(&self, hint: Hint) -> Result<Look, Errno> {
        let Some(level) = self.levels.last() else { return Ok(Look::Nothing) };
        let follows = self.root.links() == Links::FollowInside;
        let is_certain = match hint {
            Hint::Folder | Hint::File => true,
            Hint::Link => !follows,
            Hint::Unknown => false,
        };
        // What the rules leave out is not looked at.
        if is_certain && !self.admits(hint == Hint::Folder) {
            return Ok(Look::Nothing);
        }
        let here = level.folder.opened.as_fd();
        let mut seen = Seen::of(&statat(here, &*self.name, AtFlags::SYMLINK_NOFOLLOW)?);
        let mut followed = None;
        if follows && seen.file_type.is_symlink() {
            followed = self.follow();
            seen = followed.as_ref().map_or(seen, |(_, seen)| *seen);
        }
        let is_folder = seen.file_type.is_dir();
        if !self.admits(is_folder) {
            return Ok(Look::Nothing);
        }
        let kind = match seen.file_type {
            FileType::RegularFile => EntryKind::File { size: seen.size, sparse: seen.is_sparse() },
            FileType::Directory if self.depth == Depth::Folder => EntryKind::Folder,
            FileType::Directory => {
                let opened = match &followed {
                    Some((looked_up, _)) => reopen(looked_up.as_fd()),
                    None => open_folder(here, &self.name),
                };
                return match opened {
                    Ok(opened) => Ok(Look::Folder(Folder { opened, id: seen.id() }, seen)),
                    Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => Err(errno),
                    Err(errno) => Ok(Look::Closed(errno.into(), seen)),
                };
            }
            FileType::Symlink => link(here, &self.name)?,
            _ => EntryKind::Other,
        };
        Ok(Look::Leaf(kind, seen))
    }

    /// What the link at hand leads to; nothing where that is outside, or a folder that the walk is in.
    fn follow(&self) -> Option<(OwnedFd, Seen)> {
        let name = RemoteName::parse(&self.path).ok()?;
        let looked_up = self.root.open_beneath(&name, OFlags::PATH).ok()?;
        let seen = Seen::of(&fstat(&looked_up).ok()?);
        let is_loop = self.levels.iter().any(|level| level.folder.id == seen.id());
        (!is_loop).then_some((looked_up, seen))
    }

    fn admits(&self, is_folder: bool) -> bool {
        if self.shown.as_ref().is_some_and(|Shown(shows)| !shows(&self.path)) {
            return false;
        }
        let path = &self.path[self.prefix_bytes..];
        if is_folder { self.filter.admits_folder(path) } else { self.filter.admits_file(path) }
    }

    /// Reads a folder's names and goes on with them.
    fn enter(
        &mut self,
        folder: Folder,
        is_on_way: bool,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(), WalkError> {
        let after = self.after.as_ref().filter(|_| is_on_way);
        let passed = after.and_then(|after| after.components().nth(self.levels.len()));
        let share = self.names_bytes_max.saturating_sub(self.held().names_bytes);
        let mut names = Collector::new(share.max(self.names_bytes_max / SHARE_MIN));
        let mut entries = RawDir::new(folder.opened.as_fd(), self.buffer.spare_capacity_mut());
        let mut unasked = 0;
        while let Some(entry) = entries.next() {
            let entry = match entry {
                // It was removed, and has nothing any more.
                Err(Errno::NOENT) => break,
                entry => entry?,
            };
            unasked += 1;
            if unasked == UNASKED_MAX {
                unasked = 0;
                if !is_wanted() {
                    return Err(WalkError::GivenUp);
                }
            }
            let name = entry.file_name().to_bytes();
            let is_before = passed.is_some_and(|passed| name < passed);
            if !is_before && name != b"." && name != b".." {
                names.add(name, Hint::of(entry.file_type()))?;
            }
        }
        let names = names.finish()?;
        let (path_bytes, is_on_way) = (self.path.len(), passed.is_some());
        self.levels.push(Level { folder, names, path_bytes, is_on_way });
        Ok(())
    }
}

fn open_folder(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Opens a folder that was looked up for reading.
fn reopen(folder: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_folder(folder, b".")
}

/// What a link says; a longer one counts as something else.
fn link(folder: BorrowedFd<'_>, name: &[u8]) -> Result<EntryKind, Errno> {
    let target = readlinkat(folder, name, Vec::new())?.into_bytes();
    let is_tellable = target.len() <= LINK_BYTES_MAX;
    Ok(if is_tellable { EntryKind::Link { target } } else { EntryKind::Other })
}
