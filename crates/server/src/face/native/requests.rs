//! Reading requests ahead of answering them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use towline_net::stream::Incoming;
use towline_proto::limits::PIPELINED_MAX;
use towline_proto::native::frame::{HEADER_BYTES, Header};
use towline_proto::native::message::Request;

use super::NativeError;
use crate::connection::Session;

/// Where requests are put.
pub(super) struct Queue {
    sender: mpsc::Sender<(Request, u64)>,
    cancels: Arc<AtomicU64>,
}

/// Where requests are taken from, in order.
pub(super) struct Queued {
    receiver: mpsc::Receiver<(Request, u64)>,
    cancels: Arc<AtomicU64>,
}

/// Whether the request at hand still is wanted: how many cancels came before it.
#[derive(Clone)]
pub(super) struct Wanted {
    cancels: Arc<AtomicU64>,
    before: u64,
}

impl Queue {
    pub(super) fn new() -> (Self, Queued) {
        let (sender, receiver) = mpsc::channel(PIPELINED_MAX);
        let cancels = Arc::new(AtomicU64::new(0));
        (Self { sender, cancels: Arc::clone(&cancels) }, Queued { receiver, cancels })
    }
}

impl Queued {
    /// The next request; `None` when the peer sends no more.
    pub(super) async fn next(&mut self) -> Option<(Request, Wanted)> {
        let (request, before) = self.receiver.recv().await?;
        Some((request, Wanted { cancels: Arc::clone(&self.cancels), before }))
    }
}

impl Wanted {
    /// Whether no `Cancel` has come since the request.
    pub(super) fn is_wanted(&self) -> bool {
        self.cancels.load(Ordering::Relaxed) == self.before
    }
}

/// Reads requests until the peer has sent its last or the server drains; what is queued is still answered.
pub(super) async fn read(
    mut stream: Incoming<'_>,
    queue: Queue,
    session: &Session,
) -> Result<(), NativeError> {
    loop {
        let mut first = [0];
        let read = session.server.shutdown.unless_draining(stream.read(&mut first)).await;
        match read.transpose()? {
            // The end of the stream, or of the server.
            Some(0) | None => return Ok(()),
            Some(_) => {}
        }
        let rest = read_rest(&mut stream, first);
        let request = timeout(session.server.deadlines.request, rest)
            .await
            .map_err(|_| NativeError::RequestLate)??;
        let before = match request {
            // A cancel counts from itself on.
            Request::Cancel => queue.cancels.fetch_add(1, Ordering::Relaxed) + 1,
            _ => queue.cancels.load(Ordering::Relaxed),
        };
        if queue.sender.send((request, before)).await.is_err() {
            return Ok(());
        }
    }
}

async fn read_rest(stream: &mut Incoming<'_>, first: [u8; 1]) -> Result<Request, NativeError> {
    let mut bytes = [0; HEADER_BYTES];
    let (head, rest) = bytes.split_at_mut(first.len());
    head.copy_from_slice(&first);
    stream.read_exact(rest).await?;
    let header = Header::decode(&bytes)?;
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).await?;
    header.check(&payload)?;
    Ok(Request::decode(header.kind, &payload)?)
}
