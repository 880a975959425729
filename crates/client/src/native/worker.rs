//! One place among the parallel connections: connects, fetches the runs that it is given, verifies each piece
//! on arrival, and connects again when the connection dies.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use tokio::sync::mpsc;
use tokio::time::sleep;
use towline_proto::limits::DATA_BYTES_MAX;
use towline_proto::native::message::{Answer, Request, Version};
use towline_proto::piece::{Geometry, PieceHash, PieceHasher};

use super::Options;
use super::retries::Retries;
use super::session::{Frame, Session, SessionError};
use crate::plan::WorkerId;
use crate::retry::Jitter;

/// Runs that a connection has at hand: the one that comes, and the one asked for meanwhile.
pub(super) const RUNS_AHEAD: usize = 2;

/// Zeros for holes, hashed and if need be written this many at a time.
const ZEROS: &[u8] = &[0; 64 * 1_024];

/// Shorter holes are written as zeros: no file system keeps them.
const HOLE_BYTES_MIN: usize = 4_096;

/// What a worker tells whoever leads the transfer.
#[derive(Debug)]
pub(super) enum Report {
    /// It is connected and has nothing to do but what it is told over this channel, which ends with the connection.
    Ready { orders: mpsc::Sender<Range<u32>> },
    /// A piece came, was verified, and is written.
    Arrived { index: u32, hash: PieceHash },
    /// A piece came that is not what its hash says.
    Damaged { index: u32 },
    /// It has come to the end of a run.
    RunEnded,
    /// The connection is lost, for the `attempt`-th time in a row; it connects again after a wait, or gives up where
    /// there is none.
    Lost { error: SessionError, attempt: u32, wait: Option<Duration> },
    /// The local file cannot be written.
    WriteFailed(io::Error),
}

/// What all the workers of a transfer share.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) options: Options,
    pub(super) version: Version,
    pub(super) geometry: Geometry,
    pub(super) file: Arc<File>,
    /// Bytes of content that came over all connections, for the progress display.
    pub(super) received_bytes: AtomicU64,
    /// Bytes of holes, likewise.
    pub(super) hole_bytes: AtomicU64,
    /// Bytes of both that count for nothing, since they came twice or not to the end of their piece.
    pub(super) discarded_bytes: AtomicU64,
}

/// A piece, or the part of it that one frame may hold, on its way to the file.
struct Held {
    /// Where it belongs in the file.
    offset: u64,
    /// Room for it, all of which was initialised once: what is received is put there without being copied.
    room: Box<[u8]>,
    length: usize,
    /// Which of its bytes are holes.
    holes: Vec<Range<usize>>,
}

/// Why a worker stops.
enum Stop {
    Session(SessionError),
    Write(io::Error),
    /// Whoever leads the transfer is gone.
    Abandoned,
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// A worker's own state.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) job: Arc<Job>,
    pub(super) reports: mpsc::Sender<(WorkerId, Report)>,
    /// What has come of the piece at hand.
    pub(super) unfinished_bytes: AtomicU64,
}

impl Worker {
    /// Works until the transfer is over or its retries are used up. A connection that is already open serves
    /// first.
    pub(super) async fn run(mut self, mut open: Option<Session>) {
        let mut retries = Retries::new(self.job.options.backoff);
        let mut jitter = Jitter::new(u64::from(self.id.0));
        loop {
            let mut progressed = false;
            let stop = self.work(open.take(), &mut progressed).await;
            if progressed {
                retries.renew();
            }
            let report = match stop {
                Stop::Abandoned => return,
                Stop::Write(error) => Report::WriteFailed(error),
                Stop::Session(error) => {
                    let unfinished_bytes = self.unfinished_bytes.swap(0, Ordering::Relaxed);
                    self.job.discarded_bytes.fetch_add(unfinished_bytes, Ordering::Relaxed);
                    let wait = retries.wait_after(&error);
                    let (attempt, wait) = (retries.failures(), wait.map(|wait| jitter.apply(wait)));
                    Report::Lost { error, attempt, wait }
                }
            };
            let wait = if let Report::Lost { wait, .. } = &report { *wait } else { None };
            if self.reports.send((self.id, report)).await.is_err() {
                return;
            }
            let Some(wait) = wait else { return };
            sleep(wait).await;
        }
    }

    async fn work(&mut self, open: Option<Session>, progressed: &mut bool) -> Stop {
        match self.serve_runs(open, progressed).await {
            Ok(()) => Stop::Abandoned,
            Err(stop) => stop,
        }
    }

    /// Fetches run after run until there are no more; the next is asked for before the one at hand has come.
    async fn serve_runs(
        &mut self,
        open: Option<Session>,
        progressed: &mut bool,
    ) -> Result<(), Stop> {
        let options = &self.job.options;
        let mut session = match open.or_else(|| options.server.take_idle()) {
            Some(session) => session,
            None => options.server.look_up(&options.name).await?.0,
        };
        let (orders, mut runs) = mpsc::channel(RUNS_AHEAD);
        self.report(Report::Ready { orders }).await?;
        let mut asked = VecDeque::new();
        let mut held = Held::new();
        loop {
            while let Ok(run) = runs.try_recv() {
                asked.push_back(self.ask(&mut session, run).await?);
            }
            if asked.is_empty() {
                let Some(run) = runs.recv().await else {
                    options.server.give_back(session);
                    return Ok(());
                };
                asked.push_back(self.ask(&mut session, run).await?);
            }
            let Some(run) = asked.pop_front() else { continue };
            for index in run {
                self.receive_piece(&mut session, index, &mut held).await?;
                *progressed = true;
            }
            match session.next().await? {
                Frame::Answer(Answer::Done) => self.report(Report::RunEnded).await?,
                other => return Err(other.into_error().into()),
            }
        }
    }

    async fn ask(&self, session: &mut Session, run: Range<u32>) -> Result<Range<u32>, Stop> {
        let (name, version) = (self.job.options.name.clone(), self.job.version.clone());
        session.ask(&Request::Fetch { name, version, runs: vec![run.clone()] }).await?;
        Ok(run)
    }

    /// Receives one piece: hashed as it comes, and written only when its hash is right, since another connection
    /// may have brought the same piece already. Only a piece that is more than one frame holds, of a file beyond
    /// 1 TiB, is written as it comes.
    async fn receive_piece(
        &self,
        session: &mut Session,
        index: u32,
        held: &mut Held,
    ) -> Result<(), Stop> {
        let geometry = self.job.geometry;
        let (Some(bytes), Some(mut hasher)) =
            (geometry.piece(index), PieceHasher::new(geometry, index))
        else {
            return Err(SessionError::OutOfPlace.into());
        };
        held.begin(bytes.start);
        loop {
            match session.next().await? {
                Frame::Content(length) if length as u64 <= hasher.left() => {
                    if held.length + length > DATA_BYTES_MAX {
                        self.write(held).map_err(Stop::Write)?;
                    }
                    let content = self.receive_content(session, held.extend(length)).await?;
                    hasher.update(content);
                }
                Frame::Answer(Answer::Hole { bytes }) if bytes <= hasher.left() => {
                    self.hash_zeros(&mut hasher, bytes).await;
                    if !held.add_hole(bytes) {
                        self.write(held).map_err(Stop::Write)?;
                        self.make_hole(held.offset, bytes).map_err(Stop::Write)?;
                        held.begin(held.offset + bytes);
                    }
                }
                Frame::Answer(Answer::Piece { index: ended, hash })
                    if ended == index && hasher.left() == 0 =>
                {
                    self.unfinished_bytes.store(0, Ordering::Relaxed);
                    if hasher.finish() != Some(hash) {
                        return self.report(Report::Damaged { index }).await;
                    }
                    self.write(held).map_err(Stop::Write)?;
                    return self.report(Report::Arrived { index, hash }).await;
                }
                other => return Err(other.into_error().into()),
            }
        }
    }

    /// Counts what has come of the piece at hand.
    fn count(&self, of_all: &AtomicU64, bytes: u64) {
        of_all.fetch_add(bytes, Ordering::Relaxed);
        self.unfinished_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Receives as much content as there is place for.
    async fn receive_content<'a>(
        &self,
        session: &mut Session,
        place: &'a mut [u8],
    ) -> Result<&'a [u8], Stop> {
        let mut received = 0;
        while received < place.len() {
            let wanted = (place.len() - received).min(self.job.options.limit.read_bytes_max());
            let read = session.read_content_to(&mut place[received..][..wanted]).await?;
            received += read;
            self.count(&self.job.received_bytes, read as u64);
            self.job.options.limit.take(read as u64).await;
        }
        Ok(place)
    }

    /// Hashes a hole without keeping other connections from their turn: it may be huge.
    async fn hash_zeros(&self, hasher: &mut PieceHasher, bytes: u64) {
        let mut done = 0;
        while done < bytes {
            let zeros = part_of_zeros(bytes - done);
            hasher.update(zeros);
            done += zeros.len() as u64;
            self.count(&self.job.hole_bytes, zeros.len() as u64);
            tokio::task::consume_budget().await;
        }
    }

    /// Writes what is held, and holds what follows it from now on.
    fn write(&self, held: &mut Held) -> io::Result<()> {
        let mut written = 0;
        for hole in &held.holes {
            let content = &held.bytes()[written..hole.start];
            self.job.file.write_all_at(content, held.offset + written as u64)?;
            self.make_hole(held.offset + hole.start as u64, hole.len() as u64)?;
            written = hole.end;
        }
        self.job.file.write_all_at(&held.bytes()[written..], held.offset + written as u64)?;
        held.begin(held.offset + held.length as u64);
        Ok(())
    }

    /// Makes a range of the file read as zeros: without a block where the file system can.
    fn make_hole(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&*self.job.file, flags, offset, bytes).is_ok() {
            return Ok(());
        }
        let mut done = 0;
        while done < bytes {
            let zeros = part_of_zeros(bytes - done);
            self.job.file.write_all_at(zeros, offset + done)?;
            done += zeros.len() as u64;
        }
        Ok(())
    }

    async fn report(&self, report: Report) -> Result<(), Stop> {
        self.reports.send((self.id, report)).await.map_err(|_| Stop::Abandoned)
    }
}

impl Held {
    fn new() -> Self {
        let room = vec![0; DATA_BYTES_MAX].into_boxed_slice();
        Self { offset: 0, room, length: 0, holes: Vec::new() }
    }

    /// Holds nothing; what comes next is for this offset of the file.
    fn begin(&mut self, offset: u64) {
        self.offset = offset;
        self.length = 0;
        self.holes.clear();
    }

    /// Holds so many bytes more, and gives the place where they belong. There is room for them.
    fn extend(&mut self, length: usize) -> &mut [u8] {
        let start = self.length;
        self.length += length;
        &mut self.room[start..self.length]
    }

    fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// Adds zeros, remembering where a hole is worth it; tells whether there is room for them.
    fn add_hole(&mut self, bytes: u64) -> bool {
        let room = self.room.len() - self.length;
        let Some(length) = usize::try_from(bytes).ok().filter(|length| *length <= room) else {
            return false;
        };
        let start = self.length;
        self.extend(length).fill(0);
        if length >= HOLE_BYTES_MIN {
            self.holes.push(start..start + length);
        }
        true
    }
}

fn part_of_zeros(bytes: u64) -> &'static [u8] {
    &ZEROS[..usize::try_from(bytes).unwrap_or(usize::MAX).min(ZEROS.len())]
}
