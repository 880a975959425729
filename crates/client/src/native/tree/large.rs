//! Large files of a tree: each comes by pieces, beside the small ones. As many come at the same time as it takes to keep
//! the connections busy, so that it costs nothing to ask for the next one. In a dry run they are only compared.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use towline_proto::name::RemoteName;
use towline_store::staged::{Durability, Existing, StageError};
use towline_store::tree::StagedTree;

use super::options::TreeOptions;
use super::report::Report;
use super::site::Site;
use super::tally::TreeTally;
use super::wanted::Wanted;
use super::writing;
use crate::blocking::blocking;
use crate::monitor::{Event, Monitor};
use crate::native::beginning::size_and_root;
use crate::native::download::download;
use crate::native::{Busy, Connections, Failure, Options, Seats, SessionError};

/// A file is worth a connection for each so many bytes: what it takes to ask for it is little beside them.
const BYTES_A_CONNECTION: u64 = 16 << 20;

/// Fetches large files.
pub(super) struct LargeFiles {
    pub(super) options: Arc<TreeOptions>,
    pub(super) site: Site,
    /// What they share.
    pub(super) seats: Seats,
    pub(super) reports: mpsc::Sender<Report>,
}

/// What a file adds to the tree's counts, or why it failed alone.
type Ended = Result<TreeTally, String>;

/// Tells of a file what concerns the tree.
struct OfATree<'a> {
    path: &'a RemoteName,
    monitor: &'a dyn Monitor,
    /// Bytes that were told to be here.
    told_bytes: AtomicU64,
}

impl<'a> OfATree<'a> {
    fn new(path: &'a RemoteName, monitor: &'a dyn Monitor) -> Self {
        Self { path, monitor, told_bytes: AtomicU64::new(0) }
    }

    /// The file is begun with again, as another version: what is kept of the one before is told anew.
    fn begin_again(&self, size: u64) {
        let Self { path, monitor, told_bytes } = self;
        let bytes = told_bytes.swap(0, Relaxed);
        if bytes > 0 {
            monitor.on_event(&Event::Discarded { bytes });
            monitor.on_event(&Event::LargeFileEnded { path });
            monitor.on_event(&Event::LargeFileBegan { path, size });
        }
    }
}

impl Monitor for OfATree<'_> {
    fn on_event(&self, event: &Event<'_>) {
        let Self { path, monitor, told_bytes } = self;
        match event {
            Event::Started { size, .. } => self.begin_again(*size),
            Event::Connecting { .. } | Event::Connections { .. } | Event::Published { .. } => {}
            event => monitor.on_event(event),
        }
        match event {
            Event::Received { bytes } | Event::Holes { bytes } | Event::Kept { bytes } => {
                told_bytes.fetch_add(*bytes, Relaxed);
                monitor.on_event(&Event::LargeFileGrew { path, bytes: *bytes });
            }
            Event::Damaged { bytes } | Event::Discarded { bytes } => {
                told_bytes.fetch_sub(*bytes, Relaxed);
            }
            _ => {}
        }
    }
}

impl LargeFiles {
    /// Fetches files until no more come.
    pub(super) async fn run(
        self,
        mut queue: mpsc::Receiver<Wanted>,
        monitor: &dyn Monitor,
    ) -> Result<(), Failure> {
        let files_max = self.seats.count() as usize;
        stream::poll_fn(|context| queue.poll_recv(context))
            .map(Ok)
            .try_for_each_concurrent(files_max, |wanted| self.bring(wanted, monitor))
            .await
    }

    /// Brings one file once there are connections for it, or only compares it.
    async fn bring(&self, wanted: Wanted, monitor: &dyn Monitor) -> Result<(), Failure> {
        let worth = wanted.size.div_ceil(BYTES_A_CONNECTION).max(1);
        let seats = self.seats.take(u32::try_from(worth).unwrap_or(u32::MAX)).await;
        let ended = match self.options_for(&wanted, seats.count()) {
            None => Err("its name is too long".into()),
            Some(options) => {
                let monitor = OfATree::new(&wanted.path, monitor);
                match &self.site {
                    Site::Looked(_) => self.compare(&options, &monitor).await?,
                    Site::Built(tree) => fetch(&options, wanted.size, tree, &monitor).await?,
                }
            }
        };
        let report = match ended {
            Ok(delta) => Report::Counted(delta),
            Err(reason) => Report::Failed { path: wanted.path, reason },
        };
        // Where nobody takes it, the run has failed.
        let _ = self.reports.send(report).await;
        Ok(())
    }

    /// Holds a file that is here against the one on the server, by their hashes, and tells whether that would come.
    async fn compare(&self, options: &Options, monitor: &OfATree<'_>) -> Result<Ended, Failure> {
        let (size, root) = match size_and_root(options, monitor).await {
            Ok(there) => there,
            Err(failure) => return of_all_or_alone(failure),
        };
        let path = monitor.path.clone();
        if self.hash_here(path.clone(), size).await == Some(root) {
            return Ok(Ok(same(size)));
        }
        if options.existing == Existing::Refuse {
            return Ok(Err(writing::OTHER_CONTENT.into()));
        }
        // Where nobody takes the report, nobody takes the next one either.
        let _ = self.reports.send(Report::WouldFetch { path, size }).await;
        Ok(Ok(TreeTally { found_files: 1, found_bytes: size, ..TreeTally::default() }))
    }

    async fn hash_here(&self, path: RemoteName, size: u64) -> Option<blake3::Hash> {
        let mut here = self.site.here()?;
        blocking(move || here.hash(&path, size)).await
    }

    /// A new tree's file goes where the tree is built, and is synced with it; another one's into its own place.
    /// None where there cannot be such a file.
    fn options_for(&self, wanted: &Wanted, seats: u32) -> Option<Options> {
        let of_tree = &self.options;
        let is_new = self.site.tree().is_some_and(|tree| tree.target().is_new());
        let connections = match of_tree.connections {
            // It has them all for itself.
            None if seats == self.seats.count() => Connections::Adaptive,
            _ => Connections::Sharing(seats, self.seats.clone()),
        };
        Some(Options {
            server: of_tree.server.clone(),
            name: wanted.path.below(of_tree.folder.as_ref()).ok()?,
            folder: self.site.base()?,
            target: wanted.path.clone(),
            busy: Busy::Fail,
            existing: wanted.existing,
            connections,
            backoff: of_tree.backoff,
            durability: if is_new { Durability::Unsynced } else { of_tree.durability },
            limit: of_tree.limit.clone(),
            expected: None,
            keep: of_tree.keep,
        })
    }
}

/// Fetches a file of so many bytes. A failure concerns it alone, or the whole tree.
async fn fetch(
    options: &Options,
    size: u64,
    tree: &StagedTree,
    monitor: &OfATree<'_>,
) -> Result<Ended, Failure> {
    let path = monitor.path;
    monitor.on_event(&Event::LargeFileBegan { path, size });
    let fetched = Box::pin(download(options, monitor)).await;
    monitor.on_event(&Event::LargeFileEnded { path });
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => return of_all_or_alone(error.failure),
    };
    if fetched.tally.was_up_to_date {
        monitor.on_event(&Event::Kept { bytes: fetched.size });
        monitor.on_event(&Event::FilesArrived { files: 1 });
        return Ok(Ok(same(fetched.size)));
    }
    if tree.target().is_new() {
        note(tree, path, fetched.root)?;
    }
    Ok(Ok(TreeTally {
        arrived_files: 1,
        received_bytes: fetched.tally.received_bytes,
        kept_bytes: fetched.tally.kept_bytes,
        repaired_bytes: fetched.tally.repaired_bytes,
        lost_connections: fetched.tally.lost_connections.into(),
        ..TreeTally::default()
    }))
}

fn note(tree: &StagedTree, path: &RemoteName, root: blake3::Hash) -> Result<(), StageError> {
    tree.journal().note([(path, root)].into_iter()).map_err(|source| {
        let path = tree.target().path().to_owned();
        StageError::File { step: "note the progress of", path, source }
    })
}

fn same(bytes: u64) -> TreeTally {
    TreeTally { same_files: 1, same_bytes: bytes, ..TreeTally::default() }
}

/// The failure of a file concerns those that are to come as well, or it alone.
fn of_all_or_alone(failure: Failure) -> Result<Ended, Failure> {
    match failure {
        Failure::Session { error: SessionError::Refused(_), .. } => Ok(Err(failure.to_string())),
        Failure::Session { .. } => Err(failure),
        Failure::Stage(error) if error.is_of_the_disk() => Err(error.into()),
        _ => Ok(Err(failure.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{Failure, StageError, of_all_or_alone};

    fn failed(errno: Errno) -> Failure {
        let source = io::Error::from(errno);
        StageError::File { step: "write", path: "tree/large".into(), source }.into()
    }

    #[test]
    fn a_failing_disk_ends_the_tree_and_what_is_wrong_with_a_name_fails_alone() {
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::NFILE] {
            let ended = of_all_or_alone(failed(errno));
            assert!(matches!(ended, Err(Failure::Stage(_))), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM, Errno::EXIST, Errno::NAMETOOLONG] {
            assert!(matches!(of_all_or_alone(failed(errno)), Ok(Err(_))), "{errno}");
        }
    }
}
