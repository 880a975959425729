//! Leading a tree's transfer: starts who lists, compares and fetches, and takes their reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::sleep;
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Depth, Entry};
use towline_store::staged::StageError;
use towline_store::tree::{Missing, StagedTree, TargetTree};

use super::differ::{Differ, Out, Policy, Stop};
use super::fetcher::{Fetcher, GivenBack};
use super::large::LargeFiles;
use super::later::Folders;
use super::options::{Destination, Run, TreeOptions};
use super::report::Report;
use super::site::Site;
use super::tally::{Failures, TreeFetched, TreeTally};
use super::writing::check_disk;
use crate::blocking::{blocking, joined};
use crate::monitor::{Event, Monitor};
use crate::native::download::BUSY_POLL;
use crate::native::growth::worth_at_once;
use crate::native::listing::{ListOptions, Lister};
use crate::native::{Busy, Failure, Seats, SessionError};

/// Reports, pages of the listing and batches of files that may wait. Large files are only names while they wait.
const REPORTS_MAX: usize = 64;
const PAGES_MAX: usize = 4;
const BATCHES_MAX: usize = 16;
const LARGE_FILES_MAX: usize = 4_096;

/// Takes reports.
struct Ledger<'a> {
    monitor: &'a dyn Monitor,
    tally: TreeTally,
    failures: Failures,
}

/// Who fetches small files.
#[derive(Default)]
struct Crew {
    tasks: JoinSet<()>,
    begun: u32,
    given_back: GivenBack,
    /// How many have given up, and why the last one did.
    given_up: u32,
    last_error: Option<SessionError>,
}

pub(super) async fn fetch(
    options: &TreeOptions,
    monitor: &dyn Monitor,
) -> Result<TreeFetched, Failure> {
    let options = Arc::new(options.clone());
    let mut lister = Lister::new(ListOptions {
        server: options.server.clone(),
        folder: options.folder.clone(),
        depth: Depth::Tree,
        rules: options.rules.clone(),
        backoff: options.backoff,
    })?;
    let place = options.place.clone();
    let looked = blocking(move || look_at(&place)).await;
    // List before creating anything: the remote folder may not exist. List also when a file occupies the target: "the
    // source is a file" is the better error.
    let first = match &looked {
        Ok(_) | Err(StageError::TargetIsNoFolder(_)) => lister.next(monitor).await?,
        Err(_) => None,
    };
    let (target, first) = (looked?, first.unwrap_or_default());
    let path = target.path().to_owned();
    let site = match options.run {
        Run::Dry => Site::Looked(Arc::new(target)),
        Run::Real => Site::Built(stage(&options).await?),
    };
    let mut ledger = Ledger { monitor, tally: TreeTally::default(), failures: Failures::default() };
    receive(&options, site, lister, first, &mut ledger).await?;
    let Ledger { tally, failures, .. } = ledger;
    Ok(TreeFetched { path, tally, failures, elapsed: Duration::ZERO })
}

/// Begins the tree, or goes on with what is left of it. Waits while another transfer has it, if that was asked for.
async fn stage(options: &TreeOptions) -> Result<Arc<StagedTree>, StageError> {
    loop {
        let (place, durability) = (options.place.clone(), options.durability);
        // Looked at anew: it may be there by now.
        let create = move || StagedTree::create(look_at(&place)?, durability).map(Arc::new);
        match blocking(create).await {
            Err(StageError::Busy(_)) if options.busy == Busy::Wait => sleep(BUSY_POLL).await,
            staged => return staged,
        }
    }
}

fn look_at(place: &Destination) -> Result<TargetTree, StageError> {
    match place {
        Destination::At(path) => TargetTree::at(path),
        Destination::Within(folder, name) => TargetTree::within(folder, name),
    }
}

/// Fetches what differs, or only tells it.
async fn receive(
    options: &Arc<TreeOptions>,
    site: Site,
    lister: Lister,
    first: Vec<Entry>,
    ledger: &mut Ledger<'_>,
) -> Result<(), Failure> {
    let (reports, mut reported) = mpsc::channel(REPORTS_MAX);
    let (small, queue) = async_channel::bounded(BATCHES_MAX);
    let (large, large_files) = mpsc::channel(LARGE_FILES_MAX);
    let (pages, compared) = mpsc::channel(PAGES_MAX);
    let out = Out { small, large, reports: reports.clone() };
    let differ = Differ::new(policy(options), &site, new_folders()?, out);
    let comparing = spawn_blocking(move || differ.run(compared));
    let Shares { for_small, for_large } = shares(options.connections, lister.round_trip());
    let mut crew = Crew::default();
    for number in 0..for_small {
        let (options, site, queue) = (Arc::clone(options), site.clone(), queue.clone());
        crew.add(Fetcher::new(
            number,
            options,
            site,
            queue,
            crew.given_back.clone(),
            reports.clone(),
        ));
    }
    let (options, seats) = (Arc::clone(options), Seats::new(for_large));
    let large = LargeFiles { options, site: site.clone(), seats, reports };
    let monitor = ledger.monitor;
    let done = tokio::try_join!(
        list(lister, first, pages, monitor),
        large.run(large_files, monitor),
        async {
            loop {
                let report = tokio::select! {
                    report = reported.recv() => report,
                    Some(ended) = crew.tasks.join_next() => {
                        joined(ended);
                        continue;
                    }
                };
                match report {
                    Some(Report::GaveUp { error }) => {
                        ledger.tally.lost_connections += 1;
                        crew.give_up(error)?;
                    }
                    Some(report) => ledger.take_note(report)?,
                    None => break,
                }
            }
            crew.end().await
        }
    );
    // Nobody writes any more, whatever becomes of the tree.
    crew.tasks.shutdown().await;
    done?;
    let folders = ended(comparing.await)?;
    let Site::Built(tree) = site else { return Ok(()) };
    let path = tree.target().path().to_owned();
    let Finished { unnamed, failed } = blocking(move || finish(&tree, folders)).await?;
    ledger.tally.arrived_files = ledger.tally.arrived_files.saturating_sub(unnamed);
    for (path, reason) in failed {
        ledger.take_note(Report::Failed { path, reason })?;
    }
    monitor.on_event(&Event::Published { path: &path });
    Ok(())
}

/// Hands the listing on, page by page.
async fn list(
    mut lister: Lister,
    first: Vec<Entry>,
    pages: mpsc::Sender<Vec<Entry>>,
    monitor: &dyn Monitor,
) -> Result<(), Failure> {
    let mut page = Some(first);
    while let Some(entries) = page {
        if pages.send(entries).await.is_err() {
            // Who compares has stopped, and tells why.
            return Ok(());
        }
        page = lister.next(monitor).await?;
    }
    Ok(())
}

/// What became of a tree at the end.
struct Finished {
    /// Files that came and could not get their names.
    unnamed: u64,
    /// All that failed, and why.
    failed: Vec<(RemoteName, String)>,
}

/// Gives everything its final name, and folders their times.
fn finish(tree: &StagedTree, folders: Folders) -> Result<Finished, StageError> {
    let mut failed = tree.place_rest()?;
    let unnamed = failed.len() as u64;
    let mut chain = tree.target().chain(Missing::Fail).unwrap_or_else(|| tree.chain());
    let set = |path: RemoteName, attributes| {
        if let Err(error) = chain.set_folder(&path, attributes) {
            failed.push((path, error));
        }
    };
    folders.for_each(set).map_err(note_failed)?;
    for (_, error) in &failed {
        check_disk(tree, *error)?;
    }
    let failed = failed.into_iter().map(|(path, error)| (path, error.to_string())).collect();
    tree.publish()?;
    Ok(Finished { unnamed, failed })
}

fn policy(options: &TreeOptions) -> Policy {
    let TreeOptions { existing, compare, links, keep, run, .. } = *options;
    Policy { existing, compare, links, keep, run }
}

/// How many connections there are for either kind of files.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    for_small: u32,
    for_large: u32,
}

/// No more together than were asked for, save that each kind has one; else as many each as the path is worth.
fn shares(connections: Option<u32>, round_trip: Duration) -> Shares {
    let Some(connections) = connections else {
        let each = worth_at_once(round_trip);
        return Shares { for_small: each, for_large: each };
    };
    let for_large = (connections / 2).max(1);
    Shares { for_small: (connections - for_large).max(1), for_large }
}

impl Crew {
    fn add(&mut self, fetcher: Fetcher) {
        self.begun += 1;
        self.tasks.spawn(fetcher.run());
    }

    /// A fetcher has given up. That does no harm as long as others work, who take what it gives back: a server may have
    /// no place for as many as there are.
    fn give_up(&mut self, error: SessionError) -> Result<(), Failure> {
        self.given_up += 1;
        if self.given_up == self.begun || !error.is_retryable() {
            return Err(error.into());
        }
        self.last_error = Some(error);
        Ok(())
    }

    /// Waits for the end of all. What was given back and taken by nobody is why it has failed.
    async fn end(&mut self) -> Result<(), Failure> {
        while let Some(ended) = self.tasks.join_next().await {
            joined(ended);
        }
        match self.last_error.take().filter(|_| !self.given_back.is_empty()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

impl Ledger<'_> {
    fn take_note(&mut self, report: Report) -> Result<(), Failure> {
        match report {
            Report::Counted(delta) => {
                self.tally += delta;
                self.tell(&delta);
            }
            Report::Received { bytes } => {
                self.tally.received_bytes += bytes;
                self.monitor.on_event(&Event::Received { bytes });
            }
            Report::FoundAll => self.monitor.on_event(&Event::FoundAll),
            Report::Damaged { bytes } => {
                self.tally.repaired_bytes += bytes;
                self.monitor.on_event(&Event::Damaged { bytes });
            }
            Report::Failed { path, reason } => {
                self.monitor.on_event(&Event::FileFailed { path: &path, reason: &reason });
                self.failures.add(path, reason);
            }
            Report::WouldFetch { path, size } => {
                self.monitor.on_event(&Event::WouldFetch { path: &path, size });
            }
            // This is for the crew.
            Report::GaveUp { .. } => {}
            Report::Lost { error, attempt, wait } => {
                self.tally.lost_connections += 1;
                let event = Event::Retrying { error: &error, attempt, wait, discarded_bytes: 0 };
                self.monitor.on_event(&event);
            }
            Report::StageFailed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn tell(&self, delta: &TreeTally) {
        let kept = (delta.kept_files, delta.kept_bytes);
        for (files, bytes) in [(delta.found_files, delta.found_bytes), kept] {
            if files > 0 {
                self.monitor.on_event(&Event::Found { files, bytes });
            }
        }
        if delta.kept_files > 0 {
            self.monitor.on_event(&Event::Kept { bytes: delta.kept_bytes });
        }
        let files = delta.arrived_files + delta.kept_files;
        if files > 0 {
            self.monitor.on_event(&Event::FilesArrived { files });
        }
    }
}

fn new_folders() -> Result<Folders, StageError> {
    Folders::new().map_err(note_failed)
}

fn note_failed(source: std::io::Error) -> StageError {
    StageError::File { step: "note", path: PathBuf::from("the folders of the tree"), source }
}

fn ended(compared: Result<Result<Folders, Stop>, JoinError>) -> Result<Folders, Failure> {
    match joined(compared) {
        Ok(folders) => Ok(folders),
        Err(Stop::Stage(error)) => Err(error.into()),
        // Who leads is here, and has failed already where somebody is not.
        Err(Stop::Abandoned) => Err(note_failed(std::io::Error::other("abandoned")).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Shares, shares};

    #[test]
    fn both_kinds_of_files_share_the_connections_and_have_one_each() {
        for (all, for_small, for_large) in
            [(1, 1, 1), (2, 1, 1), (3, 2, 1), (8, 4, 4), (64, 32, 32)]
        {
            let shares = shares(Some(all), Duration::ZERO);
            assert_eq!(shares, Shares { for_small, for_large }, "{all}");
        }
    }
}
