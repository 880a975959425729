//! What of a tree to fetch, and how.

use std::path::PathBuf;

use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::Rule;
use towline_store::staged::{Durability, Existing};

use crate::native::{Busy, Keep, Server};
use crate::retry::Backoff;
use crate::throttle::SharedThrottle;

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct TreeOptions {
    /// The server.
    pub server: Server,
    /// The folder; `None` for the served folder itself.
    pub folder: Option<RemoteName>,
    /// What belongs to the tree.
    pub rules: Vec<Rule>,
    /// Where the tree goes.
    pub place: Destination,
    /// What happens while another transfer has the tree.
    pub busy: Busy,
    /// What happens to files that are there and differ.
    pub existing: Existing,
    /// What makes a file that is there the same.
    pub compare: Compare,
    /// What becomes of symbolic links.
    pub links: LinkPolicy,
    /// What is kept of files beside their content.
    pub keep: Keep,
    /// Whether anything is fetched.
    pub run: Run,
    /// How many connections bring content: small and large files have one each at least. One more lists. `None` for as
    /// many as gain something, up to eight for each kind.
    pub connections: Option<u32>,
    /// When a lost connection is tried again; begins anew with everything that comes.
    pub backoff: Backoff,
    /// Whether success waits for the disk.
    pub durability: Durability,
    /// Cap on bytes per second over all connections.
    pub limit: SharedThrottle,
}

/// Where a tree goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// This folder is its root.
    At(PathBuf),
    /// The folder of this name in that folder is.
    Within(PathBuf, Vec<u8>),
}

/// What makes a file that is there the same as the one on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Its size and modification time.
    SizeAndTime,
    /// Its content, which both sides read.
    Content,
}

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPolicy {
    /// They are left out, and counted.
    Skip,
    /// Those that stay inside the tree are made here too.
    KeepInside,
}

/// Whether anything is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Yes.
    Real,
    /// No; it is only told what would be.
    Dry,
}

impl TreeOptions {
    /// What is asked for, safe to print.
    pub(super) fn name(&self) -> String {
        self.folder.as_ref().map_or_else(|| "/".into(), ToString::to_string)
    }
}
