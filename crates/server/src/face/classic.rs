//! The classic protocol's server side (PROTOCOL.md, "The classic protocol").

use std::io;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use towline_net::send_file::{SendError, SendOptions, send_file};
use towline_net::stream::Stream;
use towline_proto::classic::{Header, Reply, Request, RequestError};
use towline_proto::codec::Decoded;
use towline_proto::digest::Md5Digest;
use towline_proto::milestones::Milestones;
use towline_proto::name::RemoteName;
use towline_store::digester::DigestError;
use towline_store::local::{LocalFile, OpenError};

use crate::auth::{Denied, Revoked};
use crate::budgets::Busy;
use crate::policy::Action;
use crate::records::{Asked, Outcome};
use crate::service::ServeError;
use crate::session::Session;
use crate::transfers::Transfer;

/// Content that is sent between two looks at whether the file is still the same, and still allowed.
const UNCHECKED_BYTES_MAX: u64 = 4 * 1_024 * 1_024;

/// Why a request was not answered with a whole file.
#[derive(Debug, thiserror::Error)]
enum ClassicError {
    #[error("left in the middle of its request")]
    RequestCut,
    #[error("sent no whole request in time")]
    RequestLate,
    #[error("the server is shutting down")]
    Draining,
    #[error("asked wrongly: {0}")]
    Request(#[from] RequestError),
    #[error("asked for {name}, which is not served: {source}")]
    Open { name: RemoteName, source: ServeError },
    #[error("{name} was not sent: {source}")]
    Digest { name: RemoteName, source: DigestError },
    #[error("{0} changed while it was sent, and the connection was cut")]
    Changed(RemoteName),
    #[error("{name} was not sent whole: {source}")]
    Send { name: RemoteName, source: SendError },
    #[error(transparent)]
    Revoked(#[from] Revoked),
    #[error("cut off: {0} any more")]
    Denied(#[from] Denied),
    #[error("closed: {0}")]
    Busy(#[from] Busy),
    #[error("lost: {0}")]
    Io(#[from] io::Error),
}

impl ClassicError {
    /// What came of the request.
    fn outcome(&self) -> Outcome {
        match self {
            Self::RequestCut
            | Self::RequestLate
            | Self::Draining
            | Self::Digest { source: DigestError::Abandoned, .. }
            | Self::Io(_) => Outcome::Broken,
            Self::Request(_) => Outcome::Malformed,
            Self::Revoked(_)
            | Self::Denied(_)
            | Self::Open { source: ServeError::Denied(_), .. } => Outcome::Denied,
            Self::Busy(_)
            | Self::Open { source: ServeError::Open(OpenError::Unavailable(_)), .. } => {
                Outcome::Busy
            }
            Self::Open { .. } => Outcome::NotFound,
            Self::Changed(_) | Self::Digest { source: DigestError::Changed, .. } => {
                Outcome::Changed
            }
            Self::Digest { .. } => Outcome::Failed,
            Self::Send { source, .. } => Outcome::of_sending(source),
        }
    }

    /// What the client is told; `None` where it is cut off instead, so that it tries again.
    fn refusal(&self) -> Option<String> {
        match self {
            Self::Request(error) => Some(format!("Bad request: {error}")),
            Self::Open { source: ServeError::Open(OpenError::Unavailable(_)), .. } => None,
            Self::Open { name, source: ServeError::Denied(_) } => {
                Some(format!("Not allowed: {name}"))
            }
            // Whatever is not served looks the same from outside.
            Self::Open { name, .. } => Some(format!("File not found: {name}")),
            _ => None,
        }
    }
}

/// Answers the one request of a connection.
pub(super) async fn serve(stream: &mut Stream, session: &Session) {
    let peer = session.peer;
    let Err(error) = answer(stream, session).await else {
        super::close(stream, session).await;
        return;
    };
    tracing::warn!("{peer}: {error}");
    if let Some(message) = error.refusal() {
        let refusal = Reply::encode_refusal(&message);
        match write(stream, session, &refusal).await {
            Ok(()) => super::close(stream, session).await,
            Err(error) => tracing::info!("{peer}: left before the refusal: {error}"),
        }
    }
}

async fn answer(stream: &mut Stream, session: &Session) -> Result<(), ClassicError> {
    let name = match read_request(stream, session).await {
        Ok(name) => name,
        Err(error) => {
            if matches!(error, ClassicError::Request(_)) {
                session.enter(Asked::classic(None)).end(error.outcome());
            }
            return Err(error);
        }
    };
    let entry = session.enter(Asked::classic(Some(name.clone())));
    let sent = match session.admit().await {
        Ok(()) => send(stream, session, name).await,
        Err(busy) => Err(busy.into()),
    };
    entry.end(sent.as_ref().map_or_else(ClassicError::outcome, |()| Outcome::Done));
    sent
}

/// Sends a file with all that goes before it.
async fn send(
    stream: &mut Stream,
    session: &Session,
    name: RemoteName,
) -> Result<(), ClassicError> {
    let caller = session.caller()?;
    let file = session
        .server
        .service
        .open(&caller, &name)
        .await
        .map_err(|source| ClassicError::Open { name: name.clone(), source })?;
    let size = file.version.size;
    tracing::info!("{}: asks for {name} ({size} bytes)", session.peer);
    let transfer = session.server.transfers.begin(session.peer, name, size);
    let began = Instant::now();
    let md5 = send_header(stream, session, &transfer, &file).await?;
    send_content(stream, session, &transfer, &file).await?;
    let seconds = began.elapsed().as_secs_f64();
    let name = transfer.name();
    tracing::info!("{}: sent {name}: {size} bytes in {seconds:.3} s, MD5 {md5}", session.peer);
    Ok(())
}

/// Reads just the request: what follows it is not this protocol's.
async fn read_request(stream: &mut Stream, session: &Session) -> Result<RemoteName, ClassicError> {
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            match Request::decode(&bytes)? {
                Decoded::Done(request) => return Ok(request.into_name()),
                Decoded::NeedMore(missing) => {
                    let read = bytes.len();
                    bytes.resize(read + missing, 0);
                    stream.read_exact(&mut bytes[read..]).await.map_err(cut_or_lost)?;
                }
            }
        }
    };
    let deadline = session.server.deadlines.request;
    match session.server.shutdown.unless_draining(timeout(deadline, reading)).await {
        Some(Ok(read)) => read,
        Some(Err(_)) => Err(ClassicError::RequestLate),
        None => Err(ClassicError::Draining),
    }
}

fn cut_or_lost(error: io::Error) -> ClassicError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ClassicError::RequestCut,
        _ => error.into(),
    }
}

/// Sends all that goes before the content. While the MD5 is being computed, what is known of it is dripped.
async fn send_header(
    stream: &mut Stream,
    session: &Session,
    transfer: &Transfer,
    file: &LocalFile,
) -> Result<Md5Digest, ClassicError> {
    let own_name = String::from_utf8_lossy(transfer.name().file_name()).into_owned();
    let header = |md5| Header { name: own_name.clone(), size: file.version.size, md5 }.encode();
    let without_md5 = header(Md5Digest([0; 16]));
    let known = Header::bytes_before_md5(&without_md5);

    let mut dripped = 0;
    let mut computing = std::pin::pin!(session.server.service.md5(file));
    let md5 = loop {
        tokio::select! {
            md5 = &mut computing => break md5,
            () = sleep(session.server.deadlines.drip), if dripped < known.len() => {
                write(stream, session, &known[dripped..=dripped]).await?;
                dripped += 1;
            }
        }
    };
    let name = || transfer.name().clone();
    let md5 = md5.map_err(|source| ClassicError::Digest { name: name(), source })?;
    write(stream, session, &header(md5)[dripped..]).await?;
    Ok(md5)
}

/// Sends the content. The last byte goes out only after the file was found unchanged, so that a file which
/// changed meanwhile ends in a cut that every client sees.
async fn send_content(
    stream: &mut Stream,
    session: &Session,
    transfer: &Transfer,
    file: &LocalFile,
) -> Result<(), ClassicError> {
    let size = file.version.size;
    let options = SendOptions {
        chunk_bytes: session.server.chunk_bytes,
        stall_max: session.server.deadlines.write_stall,
    };
    let mut milestones = Milestones::new(size);
    let mut on_sent = |bytes| {
        session.count_sent(bytes);
        if let Some(percent) = milestones.reached(transfer.add_sent(bytes)) {
            tracing::info!("{}: {} {percent} %", session.peer, transfer.name());
        }
    };
    let (_, mut outgoing) = stream.split();
    let rates = &session.server.rates;
    let bytes_max = UNCHECKED_BYTES_MAX.min(rates.bytes_at_once_max());
    let name = transfer.name();
    let mut offset = 0;
    while offset < size {
        let last = size - 1;
        let end = if offset == last { size } else { last.min(offset + bytes_max) };
        let caller = session.caller()?;
        caller.check(Action::Read, Some(name))?;
        let (payer, share) = (caller.payer(session.source()), caller.shares().share_of(name));
        rates.acquire(&payer, share.as_ref(), end - offset).await;
        if !file.is_unchanged()? {
            return Err(ClassicError::Changed(name.clone()));
        }
        send_file(&mut outgoing, &file.file, offset..end, options, &mut on_sent)
            .await
            .map_err(|source| ClassicError::Send { name: name.clone(), source })?;
        offset = end;
    }
    Ok(())
}

/// Writes all the bytes to a peer that keeps taking some.
async fn write(stream: &mut Stream, session: &Session, bytes: &[u8]) -> io::Result<()> {
    timeout(session.server.deadlines.write_stall, stream.write_all(bytes)).await?
}
