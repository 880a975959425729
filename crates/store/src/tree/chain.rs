//! The folders above the file at hand, each opened once: files come folder by folder.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

use crate::folders::{OPEN_FOLDER, make_folder};

/// What happens where a folder is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is made.
    Make,
    /// It is an error (`NOENT`).
    Fail,
}

/// The way from a root down to a folder.
#[derive(Debug)]
pub struct FolderChain {
    root: Arc<OwnedFd>,
    missing: Missing,
    open: Vec<(Box<[u8]>, OwnedFd)>,
}

impl FolderChain {
    /// Begins at `root`.
    pub fn new(root: Arc<OwnedFd>, missing: Missing) -> Self {
        Self { root, missing, open: Vec::new() }
    }

    /// The folder that holds `path`. A link on the way is an error (`NOTDIR`), wherever it leads.
    pub fn parent_of(&mut self, path: &RemoteName) -> Result<BorrowedFd<'_>, Errno> {
        let (folders, _) = path.split_last();
        let mut depth = 0;
        let mut rest = folders.peekable();
        while let (Some(component), Some((open, _))) = (rest.peek(), self.open.get(depth)) {
            if **component != **open {
                break;
            }
            rest.next();
            depth += 1;
        }
        self.open.truncate(depth);
        for component in rest {
            let folder = self.enter(component)?;
            self.open.push((component.into(), folder));
        }
        Ok(self.innermost())
    }

    fn enter(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let parent = self.innermost();
        let enter = || openat(parent, name, OPEN_FOLDER | OFlags::NOFOLLOW, Mode::empty());
        match enter() {
            Err(Errno::NOENT) if self.missing == Missing::Make => {
                make_folder(parent, name)?;
                enter()
            }
            entered => entered,
        }
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.open.last().map_or_else(|| self.root.as_fd(), |(_, folder)| folder.as_fd())
    }
}
