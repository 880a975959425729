//! One connection that fetches small files: asks for batches ahead, and has them written while more come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};
use towline_proto::escape::Escaped;
use towline_proto::native::message::tree::{Content, FetchTree, Page, SmallFile};
use towline_proto::native::message::{ErrorCode, Request};
use towline_store::staged::{Existing, StageError};
use towline_store::tree::{FolderChain, TreeWriter};

use super::inbox::{Arrived, Inbox};
use super::options::{Run, TreeOptions};
use super::report::Report;
use super::site::Site;
use super::tally::TreeTally;
use super::wanted::{Batch, Wanted};
use super::writing::{self, Compared, Outcome};
use crate::blocking::{blocking, joined};
use crate::native::Failure;
use crate::native::retries::Retries;
use crate::native::session::{Session, SessionError};
use crate::retry::Jitter;

/// Requests that a connection has at hand: the one that is answered, and the one asked for meanwhile.
const REQUESTS_AHEAD: usize = 2;

/// Bytes that are written together.
const HAND_ON_BYTES: usize = 512 * 1_024;

/// What has come waits no longer to be written, however slowly more comes.
const HAND_ON_AFTER: Duration = Duration::from_millis(500);

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1_024;

/// How long whatever the server refused for now is left to it.
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);

/// How often one file may come damaged, or change while it is read.
const ATTEMPTS_MAX: u32 = 5;

/// One of the parallel connections.
pub(super) struct Fetcher {
    options: Arc<TreeOptions>,
    site: Site,
    queue: async_channel::Receiver<Batch>,
    given_back: GivenBack,
    reports: mpsc::Sender<Report>,
    inbox: Inbox,
    /// What is asked for once more, after a while.
    refused: Vec<Batch>,
    /// Files that came and were no good, or that differ from what is here.
    again: Vec<Wanted>,
    /// What is here already, to be compared.
    here: Option<FolderChain>,
    writing: Writing,
    handed_on: Instant,
    jitter: Jitter,
}

/// What lost connections were asked for: whoever is free takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct GivenBack(Arc<Mutex<Vec<Batch>>>);

impl GivenBack {
    pub(super) fn is_empty(&self) -> bool {
        self.batches().is_empty()
    }

    fn batches(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who writes, and what becomes of it.
enum Writing {
    /// With room for what comes next.
    Idle(Box<TreeWriter>, Vec<u8>),
    UnderWay(JoinHandle<Written>),
    /// Nobody: it is a dry run, or the writer is gone with a failure.
    Nobody,
}

/// What a writer gives back.
struct Written {
    writer: Box<TreeWriter>,
    buffer: Vec<u8>,
    outcome: Result<Outcome, StageError>,
}

/// Why a connection stops before its work is done.
enum Stop {
    Session(SessionError),
    Stage(StageError),
    /// Whoever leads the transfer is gone.
    Abandoned,
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<StageError> for Stop {
    fn from(error: StageError) -> Self {
        Self::Stage(error)
    }
}

impl Fetcher {
    pub(super) fn new(
        number: u32,
        options: Arc<TreeOptions>,
        site: Site,
        queue: async_channel::Receiver<Batch>,
        given_back: GivenBack,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let writing = site
            .tree()
            .map_or(Writing::Nobody, |tree| Writing::Idle(Box::new(tree.writer()), Vec::new()));
        let (inbox, jitter) = (Inbox::default(), Jitter::new(number.into()));
        let here = site.here();
        Self {
            options,
            site,
            queue,
            given_back,
            reports,
            inbox,
            refused: Vec::new(),
            again: Vec::new(),
            here,
            writing,
            handed_on: Instant::now(),
            jitter,
        }
    }

    /// Works until there is no more to fetch or its retries are used up.
    pub(super) async fn run(mut self) {
        let mut retries = Retries::new(self.options.backoff);
        loop {
            let mut progressed = false;
            let error = match self.work(&mut progressed).await {
                Ok(()) | Err(Stop::Abandoned) => return,
                Err(Stop::Stage(error)) => {
                    let _ = self.reports.send(Report::StageFailed(error)).await;
                    return;
                }
                Err(Stop::Session(error)) => error,
            };
            if progressed {
                retries.renew();
            }
            let wait = retries.wait_after(&error).map(|wait| self.jitter.apply(wait));
            if let Err(Stop::Stage(error)) = self.give_back().await {
                let _ = self.reports.send(Report::StageFailed(error)).await;
                return;
            }
            let Some(wait) = wait else {
                let _ = self.reports.send(Report::GaveUp { error }).await;
                return;
            };
            let lost = Report::Lost { error, attempt: retries.failures(), wait };
            if self.reports.send(lost).await.is_err() {
                return;
            }
            sleep(wait).await;
        }
    }

    /// Has written what came over a connection that is lost, and leaves the rest to whoever is free.
    async fn give_back(&mut self) -> Result<(), Stop> {
        let mut unfinished: Vec<_> = self.inbox.lost().collect();
        unfinished.append(&mut self.refused);
        if self.inbox.parsed_bytes() > 0 {
            self.hand_on().await?;
        }
        self.settle().await?;
        while !self.again.is_empty() {
            unfinished.push(Batch { files: self.part_of_again(), content: Content::Bytes });
        }
        self.given_back.batches().append(&mut unfinished);
        Ok(())
    }

    /// Fetches over one connection until there is no more to fetch.
    async fn work(&mut self, progressed: &mut bool) -> Result<(), Stop> {
        let mut session = None;
        loop {
            while self.inbox.requests() < REQUESTS_AHEAD {
                let Some(batch) = self.next_batch().await? else { break };
                self.ask(&mut session, batch).await?;
            }
            match &mut session {
                Some(session) if self.inbox.requests() > 0 => {
                    self.receive(session, progressed).await?;
                }
                _ => break,
            }
            if self.inbox.parsed_bytes() >= HAND_ON_BYTES || self.inbox.requests() == 0 {
                self.hand_on().await?;
            }
        }
        if let Some(session) = session {
            self.options.server.give_back(session);
        }
        Ok(())
    }

    /// What to ask for next: waits only where there is nothing else to do. `None` where there is nothing more now, or
    /// ever where nothing is asked for.
    async fn next_batch(&mut self) -> Result<Option<Batch>, Stop> {
        loop {
            if !self.again.is_empty() {
                return Ok(Some(Batch { files: self.part_of_again(), content: Content::Bytes }));
            }
            let given_back = self.given_back.batches().pop();
            if let Some(batch) = given_back.or_else(|| self.queue.try_recv().ok()) {
                return Ok(Some(batch));
            }
            if self.inbox.requests() > 0 {
                return Ok(None);
            }
            // Something that is being written may have to come again.
            self.settle().await?;
            if !self.refused.is_empty() {
                // Whatever hinders the server is given some time.
                sleep(REFUSAL_PAUSE).await;
                self.given_back.batches().append(&mut self.refused);
            } else if self.again.is_empty() {
                let next = self.queue.recv().await.ok();
                // Whoever loses a connection from here on finds by itself what it gives back.
                return Ok(next.or_else(|| self.given_back.batches().pop()));
            }
        }
    }

    /// As many of the files that must be asked for again as fit into a request.
    fn part_of_again(&mut self) -> Vec<Wanted> {
        let mut page = Page::default();
        let is_full = |wanted: &Wanted| page.add(wanted.path.as_bytes().len());
        let count = self.again.iter().position(is_full).map_or(self.again.len(), |last| last + 1);
        self.again.drain(..count).collect()
    }

    async fn ask(&mut self, session: &mut Option<Session>, batch: Batch) -> Result<(), Stop> {
        let files = batch.files.iter().map(|wanted| wanted.path.clone()).collect();
        let (folder, content) = (self.options.folder.clone(), batch.content);
        let request = Request::FetchTree(FetchTree { folder, files, content });
        // From here on they count as asked for, so that they are asked for again if the connection is lost.
        self.inbox.asked_for(batch);
        if let Some(session) = session {
            session.ask(&request).await?;
            return Ok(());
        }
        *session = Some(self.options.server.ask(&request).await?);
        Ok(())
    }

    async fn receive(&mut self, session: &mut Session, progressed: &mut bool) -> Result<(), Stop> {
        let wanted = READ_BYTES.min(self.options.limit.read_bytes_max());
        let (is_waiting, due) = (self.inbox.parsed_bytes() > 0, self.handed_on + HAND_ON_AFTER);
        let buffer = self.inbox.buffer();
        buffer.reserve(READ_BYTES);
        let read = tokio::select! {
            read = session.read_content(buffer, wanted) => Some(read?),
            () = sleep_until(due), if is_waiting => None,
        };
        let Some(read) = read else { return self.hand_on().await };
        let parsed = self.inbox.parse();
        self.options.limit.take(read as u64).await;
        // Whatever ended the connection, what was answered before is answered.
        let bytes = self.inbox.take_content_bytes();
        *progressed |= bytes > 0 || self.inbox.take_answered_files() > 0;
        if bytes > 0 {
            self.report(Report::Received { bytes }).await?;
        }
        self.take_refused().await?;
        let hashed = self.inbox.take_hashed();
        if !hashed.is_empty() {
            self.compare(hashed).await?;
        }
        Ok(parsed?)
    }

    async fn take_refused(&mut self) -> Result<(), Stop> {
        for (mut wanted, content, refusal) in self.inbox.take_refused() {
            wanted.attempts += 1;
            if refusal.retry && wanted.attempts < ATTEMPTS_MAX {
                self.refused.push(Batch { files: vec![wanted], content });
            } else {
                let reason = match refusal.code {
                    ErrorCode::Changed => Failure::KeepsChanging.to_string(),
                    _ => format!("the server answered: {}", Escaped(refusal.text.as_bytes())),
                };
                self.report(Report::Failed { path: wanted.path, reason }).await?;
            }
        }
        Ok(())
    }

    /// Holds files that are here against the hashes of those on the server.
    async fn compare(&mut self, hashed: Vec<(Wanted, SmallFile)>) -> Result<(), Stop> {
        let Some(mut here) = self.here.take() else { return Ok(()) };
        let compare = move || {
            let compared = writing::compare(&mut here, hashed);
            (here, compared)
        };
        let (here, Compared { same, other }) = blocking(compare).await;
        self.here = Some(here);
        let mut delta = same;
        for wanted in other {
            if wanted.existing == Existing::Refuse {
                let reason = writing::OTHER_CONTENT.into();
                self.report(Report::Failed { path: wanted.path, reason }).await?;
                continue;
            }
            delta.found_files += 1;
            delta.found_bytes += wanted.size;
            match self.options.run {
                Run::Real => self.again.push(wanted),
                Run::Dry => {
                    let Wanted { path, size, .. } = wanted;
                    self.report(Report::WouldFetch { path, size }).await?;
                }
            }
        }
        self.report(Report::Counted(delta)).await
    }

    /// Has what has come written, while more comes. In a dry run that is nothing.
    async fn hand_on(&mut self) -> Result<(), Stop> {
        self.settle().await?;
        self.handed_on = Instant::now();
        let Site::Built(tree) = &self.site else {
            drop(self.inbox.hand_on(Vec::new()));
            return Ok(());
        };
        let Writing::Idle(mut writer, buffer) =
            std::mem::replace(&mut self.writing, Writing::Nobody)
        else {
            return Err(Stop::Abandoned);
        };
        let mut arrived = self.inbox.hand_on(buffer);
        let (tree, keep) = (Arc::clone(tree), self.options.keep);
        self.writing = Writing::UnderWay(spawn_blocking(move || {
            let outcome = writing::store(&tree, &mut writer, keep, &mut arrived);
            let Arrived { buffer, .. } = arrived;
            Written { writer, buffer, outcome }
        }));
        Ok(())
    }

    /// Waits until nothing is being written, and tells what became of it.
    async fn settle(&mut self) -> Result<(), Stop> {
        let Writing::UnderWay(writing) = &mut self.writing else { return Ok(()) };
        let Written { writer, buffer, outcome } = joined(writing.await);
        self.writing = Writing::Idle(writer, buffer);
        let Outcome { arrived_files, damaged, failed } = outcome?;
        let damaged_bytes = damaged.iter().map(|wanted| wanted.size).sum();
        if damaged_bytes > 0 {
            self.report(Report::Damaged { bytes: damaged_bytes }).await?;
        }
        for mut wanted in damaged {
            wanted.attempts += 1;
            if wanted.attempts < ATTEMPTS_MAX {
                self.again.push(wanted);
            } else {
                let reason = "it was damaged each time that it came".into();
                self.report(Report::Failed { path: wanted.path, reason }).await?;
            }
        }
        for (path, reason) in failed {
            self.report(Report::Failed { path, reason }).await?;
        }
        self.report(Report::Counted(TreeTally { arrived_files, ..TreeTally::default() })).await
    }

    async fn report(&self, report: Report) -> Result<(), Stop> {
        self.reports.send(report).await.map_err(|_| Stop::Abandoned)
    }
}
