//! What became of a tree.

use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use towline_proto::name::RemoteName;

/// Most failures that are remembered by name; all are counted.
const FAILURES_MAX: usize = 1_000;

/// A tree that is here, as far as nothing failed.
#[derive(Debug)]
pub struct TreeFetched {
    /// Where it is.
    pub path: PathBuf,
    /// What it is made of, and how that came to be here.
    pub tally: TreeTally,
    /// What of it is not here.
    pub failures: Failures,
    /// Time from the first attempt to the end.
    pub elapsed: Duration,
}

/// Counts of a tree's files and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeTally {
    /// Files that must come, as far as the listing is known.
    pub found_files: u64,
    /// Bytes of them.
    pub found_bytes: u64,
    /// Files that came.
    pub arrived_files: u64,
    /// Bytes of content that came over the network.
    pub received_bytes: u64,
    /// Bytes that were damaged on their way and fetched again.
    pub repaired_bytes: u64,
    /// Files that were here already, taken for the same by size and time.
    pub same_files: u64,
    /// Bytes of them.
    pub same_bytes: u64,
    /// Files that an earlier attempt had brought, verified again.
    pub kept_files: u64,
    /// Bytes that an earlier attempt had brought, verified again.
    pub kept_bytes: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links that are here now.
    pub links: u64,
    /// Symbolic links that were left out.
    pub skipped_links: u64,
    /// Sockets, devices and the like, which are always left out.
    pub skipped_others: u64,
    /// Connections that were lost.
    pub lost_connections: u64,
}

/// A server may declare any sizes: a sum that cannot be held is told as the most that can.
impl AddAssign for TreeTally {
    fn add_assign(&mut self, more: Self) {
        let Self {
            found_files,
            found_bytes,
            arrived_files,
            received_bytes,
            repaired_bytes,
            same_files,
            same_bytes,
            kept_files,
            kept_bytes,
            folders,
            links,
            skipped_links,
            skipped_others,
            lost_connections,
        } = more;
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.found_files, found_files);
        add(&mut self.found_bytes, found_bytes);
        add(&mut self.arrived_files, arrived_files);
        add(&mut self.received_bytes, received_bytes);
        add(&mut self.repaired_bytes, repaired_bytes);
        add(&mut self.same_files, same_files);
        add(&mut self.same_bytes, same_bytes);
        add(&mut self.kept_files, kept_files);
        add(&mut self.kept_bytes, kept_bytes);
        add(&mut self.folders, folders);
        add(&mut self.links, links);
        add(&mut self.skipped_links, skipped_links);
        add(&mut self.skipped_others, skipped_others);
        add(&mut self.lost_connections, lost_connections);
    }
}

/// What of a tree failed.
#[derive(Debug, Default)]
pub struct Failures {
    /// The first of them: what, and why.
    pub first: Vec<(RemoteName, String)>,
    /// All of them.
    pub count: u64,
}

impl Failures {
    pub(super) fn add(&mut self, path: RemoteName, reason: String) {
        self.count += 1;
        if self.first.len() < FAILURES_MAX {
            self.first.push((path, reason));
        }
    }
}
