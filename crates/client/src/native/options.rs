//! What to fetch, and how.

use towline_proto::name::RemoteName;
use towline_store::staged::{Base, Durability, Existing};
use towline_store::tree::{Attributes, Mode};

use super::seats::Seats;
use super::server::Server;
use crate::retry::Backoff;
use crate::throttle::SharedThrottle;

/// One file to fetch.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub server: Server,
    /// The file, as the server names it.
    pub name: RemoteName,
    /// The folder that the result goes into.
    pub folder: Base,
    /// The result's name below `folder`.
    pub target: RemoteName,
    /// What happens while another transfer has the target.
    pub busy: Busy,
    /// What happens to a file that is there and differs.
    pub existing: Existing,
    /// How many connections there are.
    pub connections: Connections,
    /// When a lost connection is tried again; begins anew with every piece that comes.
    pub backoff: Backoff,
    /// Whether success waits for the disk.
    pub durability: Durability,
    /// Cap on bytes per second over all connections, and over all transfers that share it.
    pub limit: SharedThrottle,
    /// What the content must hash to.
    pub expected: Option<blake3::Hash>,
    /// Which attributes of the file on the server are kept beside its content.
    pub keep: Keep,
}

/// What is kept of a file beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: it is new here.
    Nothing,
    /// The modification time.
    Time,
    /// The modification time and the permissions.
    TimeAndMode,
}

impl Keep {
    /// The attributes to set.
    pub(super) fn attributes(self, modified_ns: i64, mode: u32) -> Option<Attributes> {
        let mode = match self {
            Self::Nothing => return None,
            Self::Time => Mode::Default,
            Self::TimeAndMode => Mode::Keep(mode),
        };
        Some(Attributes { modified_ns, mode })
    }
}

/// What to do while another transfer is writing the same target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Fail at once.
    Fail,
    /// Wait until it has ended.
    Wait,
}

/// How many connections a transfer has.
#[derive(Clone, Debug)]
pub enum Connections {
    /// As many as gain something, up to eight.
    Adaptive,
    /// This many, at least one.
    Exactly(u32),
    /// So many, whose seats are taken, and those that nobody else needs.
    Sharing(u32, Seats),
}
