//! Answering requests, one after the other.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use tokio::time::{sleep_until, timeout};
use towline_proto::limits::DATA_BYTES_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::message::{Answer, ErrorCode, Info, Refusal, Request, Version};
use towline_proto::piece::PieceHash;
use towline_store::local::{Extent, OpenError};

use super::NativeError;
use super::requests::{Queued, Wanted};
use super::sender::Sender;
use crate::connection::Session;
use crate::service::PiecedFile;
use crate::transfers::Transfer;

/// How a request can fail: with an answer that says so, or with the end of the session.
enum Failure {
    Refused(Refusal),
    Session(NativeError),
}

impl<E: Into<NativeError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Session(error.into())
    }
}

/// Answers until no more requests come.
pub(super) async fn answer_all(
    mut queued: Queued,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), NativeError> {
    loop {
        sender.flush().await?;
        let next = timeout(session.server.deadlines.idle, queued.next()).await;
        let Some((request, wanted)) = next.map_err(|_| NativeError::Idle)? else {
            return Ok(());
        };
        if !wanted.is_wanted() && request != Request::Cancel {
            continue;
        }
        match answer(request, &wanted, sender, session).await {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) => {
                tracing::info!("{}: refused: {}", session.peer, refusal.text);
                sender.queue(&Answer::Error(refusal));
            }
            Err(Failure::Session(error)) => return Err(error),
        }
    }
}

async fn answer(
    request: Request,
    wanted: &Wanted,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), Failure> {
    match request {
        Request::Stat { name } => {
            let file = open(&name, session).await?;
            sender.queue(&Answer::Info(describe(&file).await?));
            Ok(())
        }
        Request::Fetch { name, version, runs } => {
            let file = open_version(&name, &version, session).await?;
            let size = runs.iter().map(|run| file.geometry.bytes_of(run.clone())).sum();
            let transfer = session.server.transfers.begin(session.peer, name, size);
            let fetch = Fetch { file: &file, transfer: &transfer, wanted, session };
            let sent = fetch.send_runs(runs, sender).await;
            file.save_hashes();
            sent
        }
        Request::Hashes { name, version, pieces } => {
            let file = open_version(&name, &version, session).await?;
            let listed = list_hashes(&file, pieces, wanted, sender, session).await;
            file.save_hashes();
            listed
        }
        Request::Cancel => Err(refuse(ErrorCode::Cancelled, "cancelled")),
    }
}

fn refuse(code: ErrorCode, text: impl Into<String>) -> Failure {
    let retry = matches!(code, ErrorCode::Changed | ErrorCode::Io | ErrorCode::Busy);
    Failure::Refused(Refusal { code, text: text.into(), retry })
}

async fn open(name: &RemoteName, session: &Session) -> Result<PiecedFile, Failure> {
    session.server.service.open_pieced(name).await.map_err(|error| {
        tracing::info!("{}: asked for {name}, which is not served: {error}", session.peer);
        match error {
            OpenError::Io(error) => refuse(ErrorCode::Io, format!("cannot open {name}: {error}")),
            // Whatever is not served looks the same from outside.
            _ => refuse(ErrorCode::NotFound, format!("no such file: {name}")),
        }
    })
}

async fn open_version(
    name: &RemoteName,
    version: &Version,
    session: &Session,
) -> Result<PiecedFile, Failure> {
    let file = open(name, session).await?;
    if version.as_bytes() == file.file.version.to_bytes() { Ok(file) } else { Err(changed(name)) }
}

fn changed(name: &RemoteName) -> Failure {
    refuse(ErrorCode::Changed, format!("{name} changed"))
}

async fn describe(file: &PiecedFile) -> Result<Info, Failure> {
    let metadata = file.file.file.metadata()?;
    Ok(Info {
        version: Version::new(&file.file.version.to_bytes())?,
        geometry: file.geometry,
        modified_ns: file.file.version.modified_ns,
        mode: metadata.mode() & 0o777,
        root: file.root().await?,
        stored_bytes: file.file.stored_bytes()?,
    })
}

/// One fetch under way.
struct Fetch<'a> {
    file: &'a PiecedFile,
    transfer: &'a Transfer,
    wanted: &'a Wanted,
    session: &'a Session,
}

impl Fetch<'_> {
    async fn send_runs(
        &self,
        runs: Vec<Range<u32>>,
        sender: &mut Sender<'_>,
    ) -> Result<(), Failure> {
        let is_sparse = self.file.file.stored_bytes()? < self.file.geometry.file_bytes();
        for index in runs.into_iter().flatten() {
            if !self.wanted.is_wanted() {
                return Ok(());
            }
            self.send_piece(index, is_sparse, sender).await?;
        }
        sender.queue(&Answer::Done);
        Ok(())
    }

    /// Sends a piece's bytes, and its hash right after them. A hash that is not known yet is computed while
    /// the bytes are on their way.
    async fn send_piece(
        &self,
        index: u32,
        is_sparse: bool,
        sender: &mut Sender<'_>,
    ) -> Result<(), Failure> {
        let Some(bytes) = self.file.geometry.piece(index) else {
            return Err(refuse(ErrorCode::BadRequest, format!("there is no piece {index}")));
        };
        let hashing = self.file.hash(index);
        self.send_bytes(bytes, is_sparse, sender).await?;
        let hash = with_heartbeats(hashing.ended(), sender, self.session).await??;
        if !self.file.file.is_unchanged()? {
            return Err(changed(self.transfer.name()));
        }
        sender.queue(&Answer::Piece { index, hash });
        Ok(())
    }

    async fn send_bytes(
        &self,
        mut bytes: Range<u64>,
        is_sparse: bool,
        sender: &mut Sender<'_>,
    ) -> Result<(), NativeError> {
        while !bytes.is_empty() {
            let (part, extent) = if is_sparse {
                self.file.file.extent(bytes.clone())
            } else {
                (bytes.clone(), Extent::Content)
            };
            let end = match extent {
                Extent::Hole => {
                    sender.queue(&Answer::Hole { bytes: part.end - part.start });
                    part.end
                }
                Extent::Content => {
                    let end = part.end.min(part.start + DATA_BYTES_MAX as u64);
                    sender.send_content(&self.file.file, part.start..end).await?;
                    end
                }
            };
            self.transfer.add_sent(end - bytes.start);
            bytes.start = end;
        }
        Ok(())
    }
}

/// Sends the hashes of a run of pieces, with signs of life while they are computed.
async fn list_hashes(
    file: &PiecedFile,
    pieces: Range<u32>,
    wanted: &Wanted,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), Failure> {
    if pieces.end > file.geometry.count() {
        return Err(refuse(ErrorCode::BadRequest, format!("there is no piece {}", pieces.end - 1)));
    }
    let first = pieces.start;
    let computing = compute_hashes(file, pieces, wanted);
    let Some(hashes) = with_heartbeats(computing, sender, session).await?? else { return Ok(()) };
    if !file.file.is_unchanged()? {
        return Err(refuse(ErrorCode::Changed, "the file changed"));
    }
    sender.queue(&Answer::HashList { first, hashes });
    Ok(())
}

/// The hashes of a run of pieces; `None` where they are not wanted any more.
async fn compute_hashes(
    file: &PiecedFile,
    pieces: Range<u32>,
    wanted: &Wanted,
) -> io::Result<Option<Vec<PieceHash>>> {
    let mut hashes = Vec::with_capacity(pieces.len());
    for index in pieces {
        if !wanted.is_wanted() {
            return Ok(None);
        }
        hashes.push(file.hash(index).ended().await?);
    }
    Ok(Some(hashes))
}

/// Waits for some work, sending a heartbeat whenever the peer has not heard from us for a while.
async fn with_heartbeats<T>(
    work: impl Future<Output = T>,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<T, NativeError> {
    let mut work = std::pin::pin!(work);
    loop {
        let due = sender.last_sent() + session.server.deadlines.heartbeat;
        tokio::select! {
            // Many short pieces of work without a byte are a long silence too.
            biased;
            () = sleep_until(due) => {
                sender.queue(&Answer::Heartbeat);
                sender.flush().await?;
            }
            done = &mut work => return Ok(done),
        }
    }
}
