//! Putting frames on the wire: small ones wait to go out with what follows them.

use std::io;
use std::ops::Range;

use tokio::time::{Instant, timeout};
use towline_net::send_file::{SendError, SendOptions, send_file};
use towline_net::stream::{More, Outgoing};
use towline_proto::native::frame::data_header;
use towline_proto::native::message::Answer;
use towline_store::local::LocalFile;

use crate::connection::Session;

/// Writes to one peer.
pub(super) struct Sender<'a> {
    outgoing: Outgoing<'a>,
    pending: Vec<u8>,
    options: SendOptions,
    last_sent: Instant,
}

impl<'a> Sender<'a> {
    pub(super) fn new(outgoing: Outgoing<'a>, session: &Session) -> Self {
        let options = SendOptions {
            chunk_bytes: session.server.chunk_bytes,
            stall_max: session.server.deadlines.write_stall,
        };
        Self { outgoing, pending: Vec::new(), options, last_sent: Instant::now() }
    }

    /// Has bytes go out before whatever comes next.
    pub(super) fn queue_bytes(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Has an answer go out before whatever comes next.
    pub(super) fn queue(&mut self, answer: &Answer) {
        self.queue_bytes(&answer.encode());
    }

    /// Sends all that is pending.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.send_pending(More::MayNotFollow).await?;
        timeout(self.options.stall_max, self.outgoing.flush()).await?
    }

    /// Sends a part of a file as a data frame.
    pub(super) async fn send_content(
        &mut self,
        file: &LocalFile,
        range: Range<u64>,
    ) -> Result<(), SendError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.queue_bytes(&data_header(length));
        // More follows at once: the kernel need not send the header in a packet of its own.
        self.send_pending(More::Follows).await?;
        send_file(&mut self.outgoing, &file.file, range, self.options, |_| ()).await?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// When the peer was last sent something.
    pub(super) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    async fn send_pending(&mut self, more: More) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.pending.len() {
            let send = self.outgoing.send(&self.pending[sent..], more);
            sent += timeout(self.options.stall_max, send).await??;
            self.last_sent = Instant::now();
        }
        self.pending.clear();
        Ok(())
    }
}
