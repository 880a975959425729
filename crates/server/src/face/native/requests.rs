//! Reading requests ahead of answering them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use towline_net::stream::Incoming;
use towline_proto::limits::{CONTROL_BYTES_MAX, PIPELINED_MAX};
use towline_proto::native::frame::{HEADER_BYTES, Header, Kind};
use towline_proto::native::message::{MessageError, Request};

use super::NativeError;
use crate::session::Session;

/// Bytes of requests that wait on a connection: more are not read.
const WAITING_BYTES_MAX: usize = 2 * CONTROL_BYTES_MAX;

/// Where requests are put.
pub(super) struct Queue {
    sender: mpsc::Sender<Waiting>,
    cancels: Arc<AtomicU64>,
    room: Arc<Semaphore>,
}

/// A waiting request, still encoded: decoded, it takes more memory.
struct Waiting {
    kind: Kind,
    payload: Vec<u8>,
    /// How many cancels came before it.
    before: u64,
    _room: OwnedSemaphorePermit,
}

/// Where requests are taken from, in order.
pub(super) struct Queued {
    receiver: mpsc::Receiver<Waiting>,
    cancels: Arc<AtomicU64>,
}

/// Whether the request at hand still is wanted: how many cancels came before it. The end of the session counts as one.
#[derive(Clone)]
pub(super) struct Wanted {
    cancels: Arc<AtomicU64>,
    before: u64,
}

impl Queue {
    pub(super) fn new() -> (Self, Queued) {
        let (sender, receiver) = mpsc::channel(PIPELINED_MAX);
        let cancels = Arc::new(AtomicU64::new(0));
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        (Self { sender, cancels: Arc::clone(&cancels), room }, Queued { receiver, cancels })
    }
}

impl Queued {
    /// The next request; `None` when the peer sends no more.
    pub(super) async fn next(&mut self) -> Option<Result<(Request, Wanted), MessageError>> {
        let Waiting { kind, payload, before, .. } = self.receiver.recv().await?;
        let request = Request::decode(kind, &payload);
        Some(request.map(|request| (request, self.wanted(before))))
    }

    /// Whether a request with so many cancels before it still is wanted.
    pub(super) fn wanted(&self, before: u64) -> Wanted {
        Wanted { cancels: Arc::clone(&self.cancels), before }
    }
}

/// Who answers is gone, and with them whoever wanted what is under way.
impl Drop for Queued {
    fn drop(&mut self) {
        self.cancels.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wanted {
    /// Whether the session goes on, and no `Cancel` has come since the request.
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
        let (kind, payload) = timeout(session.server.deadlines.request, rest)
            .await
            .map_err(|_| NativeError::RequestLate)??;
        let before = match kind {
            // A cancel counts from itself on.
            Kind::Cancel => queue.cancels.fetch_add(1, Ordering::Relaxed) + 1,
            _ => queue.cancels.load(Ordering::Relaxed),
        };
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        // Nobody closes it.
        let Ok(room) = Arc::clone(&queue.room).acquire_many_owned(bytes).await else {
            return Ok(());
        };
        let waiting = Waiting { kind, payload, before, _room: room };
        if queue.sender.send(waiting).await.is_err() {
            return Ok(());
        }
    }
}

async fn read_rest(
    stream: &mut Incoming<'_>,
    first: [u8; 1],
) -> Result<(Kind, Vec<u8>), NativeError> {
    let mut bytes = [0; HEADER_BYTES];
    let (head, rest) = bytes.split_at_mut(first.len());
    head.copy_from_slice(&first);
    stream.read_exact(rest).await?;
    let header = Header::decode_request(&bytes)?;
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).await?;
    header.check(&payload)?;
    Ok((header.kind, payload))
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn what_a_session_asked_for_is_not_wanted_once_it_has_ended() {
        let (_queue, queued) = Queue::new();
        let wanted = queued.wanted(0);
        assert!(wanted.is_wanted());
        drop(queued);
        assert!(!wanted.is_wanted());
    }
}
