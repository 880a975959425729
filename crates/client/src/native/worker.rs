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
use super::session::{Frame, Session, SessionError};
use crate::plan::WorkerId;
use crate::retry::Jitter;

/// Zeros for holes, hashed and if need be written this many at a time.
const ZEROS: &[u8] = &[0; 64 * 1_024];

/// Shorter holes are written as zeros: no file system keeps them.
const HOLE_BYTES_MIN: usize = 4_096;

/// What a worker tells whoever leads the transfer.
#[derive(Debug)]
pub(super) enum Report {
    /// It is connected and has nothing to do.
    Ready,
    /// A piece came, was verified, and is written.
    Arrived { index: u32, hash: PieceHash },
    /// A piece came that is not what its hash says.
    Damaged { index: u32 },
    /// It has come to the end of a run.
    RunEnded,
    /// The connection is lost; it connects again after a wait, or gives up where there is none.
    Lost { error: SessionError, wait: Option<Duration> },
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
    pub(super) limit: crate::throttle::SharedThrottle,
}

/// A piece, or the part of it that one frame may hold, on its way to the file.
struct Held {
    /// Where it belongs in the file.
    offset: u64,
    bytes: Vec<u8>,
    /// Which of the bytes are holes.
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
    pub(super) runs: mpsc::Receiver<Range<u32>>,
    pub(super) reports: mpsc::Sender<(WorkerId, Report)>,
}

impl Worker {
    /// Works until the transfer is over or its retries are used up. A connection that is already open serves
    /// first.
    pub(super) async fn run(mut self, mut open: Option<Session>) {
        let mut waits = self.job.options.backoff.waits();
        let mut jitter = Jitter::new(u64::from(self.id.0));
        loop {
            let mut progressed = false;
            let stop = self.work(open.take(), &mut progressed).await;
            if progressed {
                waits = self.job.options.backoff.waits();
            }
            let report = match stop {
                Stop::Abandoned => return,
                Stop::Write(error) => Report::WriteFailed(error),
                Stop::Session(error) => {
                    let wait = waits.next().filter(|_| error.is_retryable());
                    Report::Lost { error, wait: wait.map(|wait| jitter.apply(wait)) }
                }
            };
            let wait = if let Report::Lost { wait, .. } = &report { *wait } else { None };
            // Runs that were given to the lost connection go back to the plan, with whoever leads.
            while self.runs.try_recv().is_ok() {}
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

    /// Fetches run after run; the next is asked for before the one at hand has come.
    async fn serve_runs(
        &mut self,
        open: Option<Session>,
        progressed: &mut bool,
    ) -> Result<(), Stop> {
        let options = &self.job.options;
        let mut session = if let Some(session) = open {
            session
        } else {
            let Options { address, encryption, name, silence_max, .. } = options;
            Session::open(address, encryption.as_ref(), name, *silence_max).await?.0
        };
        self.report(Report::Ready).await?;
        let mut asked = VecDeque::new();
        let mut held = Held::new();
        loop {
            while let Ok(run) = self.runs.try_recv() {
                asked.push_back(self.ask(&mut session, run).await?);
            }
            if asked.is_empty() {
                let Some(run) = self.runs.recv().await else { return Ok(()) };
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
                    if held.bytes.len() + length > DATA_BYTES_MAX {
                        self.write(held).map_err(Stop::Write)?;
                    }
                    let before = held.bytes.len();
                    self.receive_content(session, &mut held.bytes, length).await?;
                    hasher.update(&held.bytes[before..]);
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

    /// Receives `length` bytes behind those that are in `buffer`.
    async fn receive_content(
        &self,
        session: &mut Session,
        buffer: &mut Vec<u8>,
        length: usize,
    ) -> Result<(), Stop> {
        let end = buffer.len() + length;
        while buffer.len() < end {
            let wanted = (end - buffer.len()).min(self.job.limit.read_bytes_max());
            let read = session.read_content(buffer, wanted).await?;
            self.job.received_bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.job.limit.take(read as u64).await;
        }
        Ok(())
    }

    /// Hashes a hole without keeping other connections from their turn: it may be huge.
    async fn hash_zeros(&self, hasher: &mut PieceHasher, bytes: u64) {
        let mut done = 0;
        while done < bytes {
            let zeros = part_of_zeros(bytes - done);
            hasher.update(zeros);
            done += zeros.len() as u64;
            self.job.hole_bytes.fetch_add(zeros.len() as u64, Ordering::Relaxed);
            tokio::task::consume_budget().await;
        }
    }

    /// Writes what is held, and holds what follows it from now on.
    fn write(&self, held: &mut Held) -> io::Result<()> {
        let mut written = 0;
        for hole in &held.holes {
            let content = &held.bytes[written..hole.start];
            self.job.file.write_all_at(content, held.offset + written as u64)?;
            self.make_hole(held.offset + hole.start as u64, hole.len() as u64)?;
            written = hole.end;
        }
        self.job.file.write_all_at(&held.bytes[written..], held.offset + written as u64)?;
        held.begin(held.offset + held.bytes.len() as u64);
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
        Self { offset: 0, bytes: Vec::with_capacity(DATA_BYTES_MAX), holes: Vec::new() }
    }

    /// Holds nothing; what comes next is for this offset of the file.
    fn begin(&mut self, offset: u64) {
        self.offset = offset;
        self.bytes.clear();
        self.holes.clear();
    }

    /// Adds zeros, remembering where a hole is worth it; tells whether there is room for them.
    fn add_hole(&mut self, bytes: u64) -> bool {
        let room = DATA_BYTES_MAX - self.bytes.len();
        let Some(length) = usize::try_from(bytes).ok().filter(|length| *length <= room) else {
            return false;
        };
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        if length >= HOLE_BYTES_MIN {
            self.holes.push(start..start + length);
        }
        true
    }
}

fn part_of_zeros(bytes: u64) -> &'static [u8] {
    &ZEROS[..usize::try_from(bytes).unwrap_or(usize::MAX).min(ZEROS.len())]
}
