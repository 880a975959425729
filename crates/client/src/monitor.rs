//! What a transfer tells while it runs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use towline_proto::digest::Md5Digest;
use towline_proto::name::RemoteName;

use crate::connect::Address;
use crate::trust::News;

/// One thing that happened, in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An attempt begins; the first is 1.
    Connecting {
        /// The server.
        address: &'a Address,
        /// Which attempt it is.
        attempt: u32,
    },
    /// The server was reached.
    Connected {
        /// Which of its addresses answered.
        peer: SocketAddr,
    },
    /// A server has proved that it is the right one, in a way that was not known of it.
    Trusted {
        /// What is known now.
        news: &'a News,
    },
    /// The server has the file and begins to send it, from its first byte.
    Started {
        /// Size of the file in bytes, as the server declares it.
        size: u64,
        /// MD5, where the server declares it.
        md5: Option<Md5Digest>,
    },
    /// The number of connections in use is another now.
    Connections {
        /// How many there are.
        count: usize,
    },
    /// Bytes arrived.
    Received {
        /// How many, since the last such event.
        bytes: u64,
    },
    /// Zeros arrived as the lengths of holes.
    Holes {
        /// How many, since the last such event.
        bytes: u64,
    },
    /// Bytes that were here from an earlier attempt were verified again.
    Kept {
        /// How many, since the last such event.
        bytes: u64,
    },
    /// Bytes that arrived, or zeros, count for nothing: they came twice, or their connection was lost before they could
    /// be verified.
    Discarded {
        /// How many, since the last such event.
        bytes: u64,
    },
    /// Bytes arrived damaged and will be fetched again.
    Damaged {
        /// How many, since the last such event.
        bytes: u64,
    },
    /// An attempt failed and another follows. Of connections that are lost together, one is told.
    Retrying {
        /// What went wrong.
        error: &'a (dyn std::error::Error + 'static),
        /// The attempt that failed, counted since the last one that brought anything.
        attempt: u32,
        /// The wait before the next one.
        wait: Duration,
        /// Bytes that had arrived and will be sent again.
        discarded_bytes: u64,
    },
    /// Every byte arrived and the checksum is the declared one.
    Verified {
        /// The checksum, as computed here.
        md5: Md5Digest,
    },
    /// More files of a tree are known that must come.
    Found {
        /// Files, since the last such event.
        files: u64,
        /// Bytes of them.
        bytes: u64,
    },
    /// All of a tree is known that must come.
    FoundAll,
    /// This file of a tree would come, were it not a dry run.
    WouldFetch {
        /// Its path below the tree's root.
        path: &'a RemoteName,
        /// In bytes.
        size: u64,
    },
    /// Files of a tree have come.
    FilesArrived {
        /// How many, since the last such event.
        files: u64,
    },
    /// A file of a tree comes by pieces, beside others.
    LargeFileBegan {
        /// Its path below the tree's root.
        path: &'a RemoteName,
        /// In bytes.
        size: u64,
    },
    /// Bytes of such a file are here, also from before; each such event follows one that counts them for the tree.
    LargeFileGrew {
        /// Its path below the tree's root.
        path: &'a RemoteName,
        /// How many, since the last such event.
        bytes: u64,
    },
    /// Such a file is here, or failed.
    LargeFileEnded {
        /// Its path below the tree's root.
        path: &'a RemoteName,
    },
    /// A file or folder of a tree failed; the others go on.
    FileFailed {
        /// Its path below the tree's root.
        path: &'a RemoteName,
        /// What went wrong.
        reason: &'a str,
    },
    /// The file or tree has its final name.
    Published {
        /// Where it is.
        path: &'a Path,
    },
}

/// Whoever watches transfers. Called from the transfer's own thread: must not block.
pub trait Monitor: Send + Sync {
    /// Takes note of an event.
    fn on_event(&self, event: &Event<'_>);
}

/// Several watchers are told one after the other.
impl Monitor for Vec<Box<dyn Monitor>> {
    fn on_event(&self, event: &Event<'_>) {
        for monitor in self {
            monitor.on_event(event);
        }
    }
}
