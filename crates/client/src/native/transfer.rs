//! Leading a transfer: hands out the plan's runs, takes note of what came, and decides when it is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};
use towline_proto::limits::DATA_BYTES_MAX;
use towline_proto::native::message::Info;
use towline_proto::piece::{Geometry, PieceHash};
use towline_store::hashing::hash_piece;
use towline_store::staged::{StageError, Staged};

use super::growth::Growth;
use super::session::Session;
use super::sync_ahead::SyncAhead;
use super::worker::{Job, RUNS_AHEAD, Report, Worker};
use super::{Failure, Options, Tally};
use crate::blocking::joined;
use crate::journal;
use crate::known_hashes::KnownHashes;
use crate::monitor::{Event, Monitor};
use crate::plan::{Arrival, Plan, TakeOver, WorkerId};

/// Who looks at the pieces that an earlier attempt left.
const KEEPER: WorkerId = WorkerId(u32::MAX);

/// How often progress is told, and idle connections are looked after.
const TICK: Duration = Duration::from_millis(100);

/// Reports that may wait.
const REPORTS_MAX: usize = 256;

/// How often one piece may come damaged.
const DAMAGES_MAX: u32 = 5;

/// How a transfer ends that does not fail.
pub(super) enum Ending {
    /// Every piece is there; their hashes in order.
    Complete(Vec<PieceHash>),
    /// The source is another version now; what was verified of the old one, and what was not looked at yet.
    Changed(KnownHashes),
}

/// A transfer under way.
pub(super) struct Transfer<'a> {
    job: Arc<Job>,
    monitor: &'a dyn Monitor,
    tally: &'a mut Tally,
    staged: &'a Staged,
    plan: Plan,
    began: Instant,
    /// Expected hashes of pieces left by an earlier attempt, and verified hashes of pieces that are here; the plan
    /// knows which is which.
    hashes: KnownHashes,
    damages: HashMap<u32, u32>,
    journal: File,
    sync_ahead: SyncAhead,
    workers: BTreeMap<WorkerId, Hired>,
    /// Also those that have given up: their numbers are not used again.
    workers_begun: u32,
    /// Connected, and without a run to fetch.
    idle: BTreeSet<WorkerId>,
    connected: BTreeSet<WorkerId>,
    told_bytes: u64,
    told_hole_bytes: u64,
    told_discarded_bytes: u64,
    growth: Growth,
}

/// A worker, as whoever leads sees it.
struct Hired {
    /// To its connection, where it has one. What a lost one was told goes back to the plan, and reaches no other.
    orders: Option<mpsc::Sender<Range<u32>>>,
    /// Pieces that it was told to fetch and has said nothing of.
    owed_pieces: u32,
    task: AbortHandle,
}

impl<'a> Transfer<'a> {
    /// Prepares the unfinished file. What comes is noted at the end of `journal`.
    pub(super) fn new(
        options: &Options,
        info: &Info,
        staged: &'a Staged,
        journal: File,
        candidates: KnownHashes,
        monitor: &'a dyn Monitor,
        tally: &'a mut Tally,
    ) -> Result<Self, StageError> {
        // What an earlier attempt kept is counted anew.
        tally.kept_bytes = 0;
        let size = info.geometry.file_bytes();
        staged.file().set_len(size).map_err(|source| staged.write_failed(source))?;
        let job = Arc::new(Job {
            options: options.clone(),
            version: info.version.clone(),
            geometry: info.geometry,
            file: Arc::clone(staged.file()),
            received_bytes: AtomicU64::new(0),
            hole_bytes: AtomicU64::new(0),
            discarded_bytes: AtomicU64::new(0),
        });
        Ok(Self {
            plan: Plan::new(info.geometry.count(), take_over(info.geometry)),
            job,
            monitor,
            tally,
            staged,
            began: Instant::now(),
            hashes: candidates,
            damages: HashMap::new(),
            journal,
            sync_ahead: SyncAhead::new(staged.syncer(), options.durability),
            workers: BTreeMap::new(),
            workers_begun: 0,
            idle: BTreeSet::new(),
            connected: BTreeSet::new(),
            told_bytes: 0,
            told_hole_bytes: 0,
            told_discarded_bytes: 0,
            growth: Growth::new(&options.connections, info.geometry.count()),
        })
    }

    /// Fetches what is missing. The candidates are read and hashed again meanwhile.
    pub(super) async fn run(mut self, session: Session) -> Result<Ending, Failure> {
        // Dropped with this future: every worker ends with it.
        let mut tasks = JoinSet::new();
        let ending = self.lead(session, &mut tasks).await;
        // Nobody writes to the file any more, whatever becomes of it.
        tasks.shutdown().await;
        ending
    }

    async fn lead(&mut self, session: Session, tasks: &mut JoinSet<()>) -> Result<Ending, Failure> {
        let (sender, mut reports) = mpsc::channel(REPORTS_MAX);
        self.plan.set_round_trip(session.round_trip());
        self.plan.reserve(self.hashes.iter().map(|(index, _)| index));
        self.look_at_kept(sender.clone());
        let at_once = self.growth.at_once(session.round_trip());
        self.add_worker(Some(session), tasks, &sender);
        while at_once > self.workers.len() {
            self.add_worker(None, tasks, &sender);
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.plan.is_complete() {
            tokio::select! {
                report = reports.recv() => {
                    let Some((id, report)) = report else { return Err(Failure::Incomplete) };
                    if let Some(ending) = self.take_note(id, report)? {
                        return Ok(ending);
                    }
                }
                Some(ended) = tasks.join_next() => joined(ended),
                _ = ticks.tick() => {
                    self.tell_progress();
                    self.supply_idle();
                    // Where one is idle, another would be too.
                    while self.idle.is_empty()
                        && self.growth.wants_more(self.received(), self.workers.len())
                    {
                        self.add_worker(None, tasks, &sender);
                    }
                }
            }
        }
        self.dismiss(&mut reports, tasks).await;
        let hashes = std::mem::take(&mut self.hashes);
        hashes.into_all().map(Ending::Complete).ok_or(Failure::Incomplete)
    }

    /// Dismisses all workers. Waits only for those that are connected and owe no piece: their sessions can be reused.
    async fn dismiss(
        &mut self,
        reports: &mut mpsc::Receiver<(WorkerId, Report)>,
        tasks: &mut JoinSet<()>,
    ) {
        let mut awaited = BTreeSet::new();
        for (id, Hired { owed_pieces, task, .. }) in std::mem::take(&mut self.workers) {
            if owed_pieces == 0 && self.connected.contains(&id) {
                awaited.insert(id);
            } else {
                task.abort();
            }
        }
        let mut ended = 0;
        while ended < awaited.len() {
            tokio::select! {
                Some(task) = tasks.join_next() => {
                    if !task.as_ref().is_err_and(JoinError::is_cancelled) {
                        joined(task);
                        ended += 1;
                    }
                }
                Some((id, report)) = reports.recv() => {
                    if matches!(report, Report::Lost { .. }) {
                        awaited.remove(&id);
                    }
                }
                else => break,
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn received(&self) -> u64 {
        self.job.received_bytes.load(Ordering::Relaxed)
    }

    /// Reads what an earlier attempt left, in a thread of its own.
    fn look_at_kept(&self, reports: mpsc::Sender<(WorkerId, Report)>) {
        let candidates: Vec<u32> = self.hashes.iter().map(|(index, _)| index).collect();
        let (file, geometry): (_, Geometry) = (Arc::clone(&self.job.file), self.job.geometry);
        spawn_blocking(move || {
            for index in candidates {
                let report = match hash_piece(&file, geometry, index) {
                    Ok(Some(hash)) => Report::Arrived { index, hash },
                    // It cannot be read: it is fetched.
                    _ => Report::Damaged { index },
                };
                if reports.blocking_send((KEEPER, report)).is_err() {
                    return;
                }
            }
        });
    }

    fn add_worker(
        &mut self,
        session: Option<Session>,
        tasks: &mut JoinSet<()>,
        reports: &mpsc::Sender<(WorkerId, Report)>,
    ) {
        let id = WorkerId(self.workers_begun);
        self.workers_begun += 1;
        let worker = Worker {
            id,
            job: Arc::clone(&self.job),
            reports: reports.clone(),
            unfinished_bytes: AtomicU64::new(0),
        };
        let task = tasks.spawn(worker.run(session));
        self.workers.insert(id, Hired { orders: None, owed_pieces: 0, task });
    }

    fn take_note(&mut self, id: WorkerId, report: Report) -> Result<Option<Ending>, Failure> {
        match report {
            Report::Ready { orders } => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.orders = Some(orders);
                }
                self.connected.insert(id);
                self.tell_connections();
                for _ in 0..RUNS_AHEAD {
                    self.supply(id);
                }
            }
            Report::RunEnded => self.supply(id),
            Report::Arrived { index, hash } => {
                self.heard_of_a_piece(id);
                self.arrived(id, index, hash)?;
            }
            Report::Damaged { index } => {
                self.heard_of_a_piece(id);
                self.damaged(id, index)?;
            }
            Report::Lost { error, .. } if error.is_changed() => {
                return Ok(Some(Ending::Changed(self.known_of_old())));
            }
            Report::Lost { error, attempt, wait } => {
                self.plan.lost(id);
                self.idle.remove(&id);
                if let Some(worker) = self.workers.get_mut(&id) {
                    (worker.orders, worker.owed_pieces) = (None, 0);
                }
                if self.connected.remove(&id) {
                    self.tell_connections();
                }
                self.tally.lost_connections += 1;
                if let Some(wait) = wait {
                    let error = &error;
                    let retrying = Event::Retrying { error, attempt, wait, discarded_bytes: 0 };
                    self.monitor.on_event(&retrying);
                } else {
                    self.workers.remove(&id);
                    if self.workers.is_empty() || !error.is_retryable() {
                        let retries = self.job.options.backoff.retries;
                        let attempts = if error.is_retryable() { retries + 1 } else { 1 };
                        return Err(Failure::Session { error, attempts });
                    }
                }
            }
            Report::WriteFailed(source) => return Err(self.staged.write_failed(source).into()),
        }
        Ok(None)
    }

    /// A worker owes one piece less.
    fn heard_of_a_piece(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.owed_pieces = worker.owed_pieces.saturating_sub(1);
        }
    }

    /// What may be equal in the next version: all that is here, looked at or not.
    fn known_of_old(&mut self) -> KnownHashes {
        let mut known = std::mem::take(&mut self.hashes);
        for index in 0..self.job.geometry.count() {
            if !self.plan.is_there(index) && !self.plan.is_reserved(index) {
                known.remove(index);
            }
        }
        known
    }

    fn arrived(&mut self, id: WorkerId, index: u32, hash: PieceHash) -> Result<(), Failure> {
        if id == KEEPER && self.hashes.get(index) != Some(hash) {
            // Not what the journal says.
            return self.damaged(id, index);
        }
        if self.plan.arrived(id, index, self.now()) == Arrival::Duplicate {
            let bytes = self.job.geometry.bytes_of(index..index + 1);
            self.job.discarded_bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        }
        self.hashes.insert(index, hash);
        if id == KEEPER {
            let bytes = self.job.geometry.bytes_of(index..index + 1);
            self.tally.kept_bytes += bytes;
            self.monitor.on_event(&Event::Kept { bytes });
            // The journal names it already.
            return Ok(());
        }
        self.sync_ahead.wrote(self.job.geometry.bytes_of(index..index + 1));
        self.journal
            .write_all(&journal::encode_piece(index, hash))
            .map_err(|source| self.staged.write_failed(source).into())
    }

    fn damaged(&mut self, id: WorkerId, index: u32) -> Result<(), Failure> {
        if id == KEEPER {
            self.plan.release(index);
            self.supply_idle();
            return Ok(());
        }
        self.plan.failed(id, index);
        self.supply_idle();
        let bytes = self.job.geometry.bytes_of(index..index + 1);
        // They are told as received before they are told as damaged.
        self.tell_progress();
        self.tally.repaired_bytes += bytes;
        self.monitor.on_event(&Event::Damaged { bytes });
        let damages = self.damages.entry(index).or_default();
        *damages += 1;
        if *damages > DAMAGES_MAX { Err(Failure::Damaged(index)) } else { Ok(()) }
    }

    /// Gives a worker its next run, or notes that there is none for it.
    fn supply(&mut self, id: WorkerId) {
        let now = self.now();
        let Some(Hired { orders, owed_pieces, .. }) = self.workers.get_mut(&id) else { return };
        let Some(Ok(place)) = orders.as_ref().map(mpsc::Sender::try_reserve) else { return };
        match self.plan.take(id, now) {
            Some(run) => {
                *owed_pieces += run.end - run.start;
                place.send(run);
                self.idle.remove(&id);
            }
            None => {
                self.idle.insert(id);
            }
        }
    }

    fn supply_idle(&mut self) {
        for id in self.idle.clone() {
            self.supply(id);
        }
    }

    fn tell_connections(&self) {
        self.monitor.on_event(&Event::Connections { count: self.connected.len() });
    }

    fn tell_progress(&mut self) {
        let received = self.received();
        let bytes = received - self.told_bytes;
        if bytes > 0 {
            self.tally.received_bytes += bytes;
            self.monitor.on_event(&Event::Received { bytes });
        }
        self.told_bytes = received;
        let holes = self.job.hole_bytes.load(Ordering::Relaxed);
        if holes > self.told_hole_bytes {
            self.monitor.on_event(&Event::Holes { bytes: holes - self.told_hole_bytes });
        }
        self.told_hole_bytes = holes;
        let discarded = self.job.discarded_bytes.load(Ordering::Relaxed);
        if discarded > self.told_discarded_bytes {
            let bytes = discarded - self.told_discarded_bytes;
            self.monitor.on_event(&Event::Discarded { bytes });
        }
        self.told_discarded_bytes = discarded;
    }
}

/// However it ends, also by Ctrl-C: what has come is told.
impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.tell_progress();
    }
}

/// Pieces that are larger than what a worker holds back until it is verified belong to one worker at a time.
fn take_over(geometry: Geometry) -> TakeOver {
    if geometry.piece_bytes() <= DATA_BYTES_MAX as u64 {
        TakeOver::Allowed
    } else {
        TakeOver::Never
    }
}
