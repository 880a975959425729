//! Putting frames on the wire: small ones wait to go out with what follows them.

use std::io;
use std::ops::Range;

use tokio::time::{Instant, timeout};
use towline_net::send_file::{SendError, SendOptions, send_file};
use towline_net::stream::{More, Outgoing};
use towline_proto::native::frame::data_header;
use towline_proto::native::message::Answer;
use towline_store::local::LocalFile;

use crate::session::Session;

/// Bytes that may wait to go out with what follows them.
const PENDING_BYTES_MAX: usize = 64 * 1_024;

/// Writes to one peer.
pub(super) struct Sender<'a> {
    session: &'a Session,
    outgoing: Outgoing<'a>,
    pending: Vec<u8>,
    options: SendOptions,
    last_sent: Instant,
}

impl<'a> Sender<'a> {
    pub(super) fn new(outgoing: Outgoing<'a>, session: &'a Session) -> Self {
        let options = SendOptions {
            chunk_bytes: session.server.chunk_bytes,
            stall_max: session.server.deadlines.write_stall,
        };
        Self { session, outgoing, pending: Vec::new(), options, last_sent: Instant::now() }
    }

    /// Has bytes go out before whatever comes next.
    pub(super) fn queue_bytes(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Has an answer go out before whatever comes next.
    pub(super) fn queue(&mut self, answer: &Answer) {
        self.queue_bytes(&answer.encode());
    }

    /// Sends what is pending where it is much. Whoever queues answers without end asks for this between them.
    pub(super) async fn relieve(&mut self) -> io::Result<()> {
        if self.pending.len() > PENDING_BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    /// Sends all that is pending.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.send_pending(More::MayNotFollow).await?;
        loop {
            let before = self.outgoing.progress();
            match timeout(self.options.stall_max, self.outgoing.flush()).await {
                Err(_) if self.outgoing.progress() > before => {}
                flushed => return flushed?,
            }
        }
    }

    /// Sends frames with content that are made already, behind what is pending.
    pub(super) async fn send_frames(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_pending(More::Follows).await?;
        self.send_all(bytes, More::MayNotFollow).await
    }

    /// Sends a part of a file as a data frame. What the file does not give of it is made up for by zeros: without their
    /// piece's hash they count for nothing, and the session can go on.
    pub(super) async fn send_content(
        &mut self,
        file: &LocalFile,
        range: Range<u64>,
    ) -> Result<(), SendError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.queue_bytes(&data_header(length));
        // More follows at once: the kernel need not send the header in a packet of its own.
        self.send_pending(More::Follows).await?;
        let (session, mut left) = (self.session, length);
        let on_sent = |bytes| {
            left = left.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
            session.count_sent(bytes);
        };
        let sent = send_file(&mut self.outgoing, &file.file, range, self.options, on_sent).await;
        if let Err(SendError::Shrunk(_) | SendError::Read(_)) = &sent {
            self.send_all(&vec![0; left], More::Follows).await?;
        }
        self.last_sent = Instant::now();
        sent
    }

    /// When the peer was last sent something.
    pub(super) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    async fn send_pending(&mut self, more: More) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let sent = self.send_all(&pending, more).await;
        self.pending = pending;
        self.pending.clear();
        self.pending.shrink_to(PENDING_BYTES_MAX);
        sent
    }

    async fn send_all(&mut self, bytes: &[u8], more: More) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let before = self.outgoing.progress();
            let send = self.outgoing.send(&bytes[sent..], more);
            match timeout(self.options.stall_max, send).await {
                Err(_) if self.outgoing.progress() > before => {}
                taken => sent += taken??,
            }
            self.last_sent = Instant::now();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::copy;
    use towline_net::stream::Stream;
    use towline_proto::native::message::Answer;

    use super::super::testing::{connected, session};
    use super::{PENDING_BYTES_MAX, Sender};

    #[tokio::test]
    async fn little_waits_to_go_out_however_much_is_queued() {
        let (near, mut far) = connected().await;
        let (session, _folder) = session();
        let mut near = Stream::plain(near);
        let (_, outgoing) = near.split();
        let mut sender = Sender::new(outgoing, &session);
        let hole = Answer::Hole { bytes: 1 };
        let sending = async move {
            for _ in 0..100_000 {
                sender.queue(&hole);
                sender.relieve().await.unwrap();
                assert!(sender.pending.len() <= PENDING_BYTES_MAX);
            }
            sender.queue_bytes(&vec![0; 10 * PENDING_BYTES_MAX]);
            sender.flush().await.unwrap();
            assert!(sender.pending.capacity() <= PENDING_BYTES_MAX);
            drop(sender);
        };
        let receiving = async { copy(&mut far, &mut tokio::io::sink()).await.unwrap() };
        tokio::select! {
            () = sending => {}
            _ = receiving => panic!("nobody closed it"),
        }
    }
}
