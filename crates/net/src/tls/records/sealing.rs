//! What the peer is sent: sealed into one buffer, many records at once, which goes out in as few writes as the socket lets.

use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, ContentType, Error};
use tokio::io::AsyncWrite;

use super::{AROUND_BYTES, HEADER_BYTES, Link, PLAIN_BYTES_MAX, RecordKey};

/// Records that are sealed before they are written: what they hold is few enough to stay in the processor's cache.
const RECORDS_A_WRITE_MAX: usize = 8;

/// Bytes of plaintext that are taken at once.
const STEP_BYTES: usize = RECORDS_A_WRITE_MAX * PLAIN_BYTES_MAX;

/// Small records that go out together with what follows them, at most.
const AHEAD_BYTES: usize = 4 * 1_024;

/// Room that is kept while nothing is sent.
const IDLE_BYTES_MAX: usize = 1_024;

/// A message that changes the key (RFC 8446, section 4.6.3), and asks for none in return.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// What an alert says first: whatever ends a connection is fatal but its regular end (RFC 8446, section 6).
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// One direction of a connection, outgoing.
pub(in crate::tls) struct Sealing {
    key: RecordKey,
    /// Records up to `filled`, and room behind them.
    buffer: Vec<u8>,
    filled: usize,
    /// How many of the bytes the socket has taken.
    sent: usize,
    /// The same, over all buffers that there were.
    sent_in_all: u64,
    has_ended: bool,
}

impl Sealing {
    pub(in crate::tls) fn new(key: RecordKey) -> Self {
        Self { key, buffer: Vec::new(), filled: 0, sent: 0, sent_in_all: 0, has_ended: false }
    }

    /// How many bytes of records the socket has taken.
    pub(in crate::tls) fn sent_in_all(&self) -> u64 {
        self.sent_in_all
    }

    /// Takes some bytes, and begins to send them.
    pub(in crate::tls) fn poll_write(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        link: &Link,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(self.poll_queue(socket.as_mut(), link, context, bytes))?;
        self.begin_sending(socket, context)?;
        Poll::Ready(Ok(taken))
    }

    /// Takes some bytes that may wait for what follows them.
    pub(in crate::tls) fn poll_queue(
        &mut self,
        socket: Pin<&mut impl AsyncWrite>,
        link: &Link,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_make_room(socket, context))?;
        let length = bytes.len().min(STEP_BYTES);
        self.begin(link)?;
        for part in bytes[..length].chunks(PLAIN_BYTES_MAX) {
            self.seal(ContentType::ApplicationData, part)?;
        }
        Poll::Ready(Ok(length))
    }

    /// Takes at most `length` bytes, which `read` writes straight to where they are sealed, and begins to send them;
    /// tells how many `read` wrote.
    pub(in crate::tls) fn poll_write_with(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        link: &Link,
        context: &mut Context<'_>,
        length: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_make_room(socket.as_mut(), context))?;
        self.begin(link)?;
        let length = length.min(STEP_BYTES);
        let records = length.div_ceil(PLAIN_BYTES_MAX);
        let room = self.room(length + records * AROUND_BYTES);
        let mut places: Vec<_> = room
            .chunks_mut(AROUND_BYTES + PLAIN_BYTES_MAX)
            .map(|record| {
                let end = record.len() - (AROUND_BYTES - HEADER_BYTES);
                IoSliceMut::new(&mut record[HEADER_BYTES..end])
            })
            .collect();
        let taken = read(&mut places)?;
        let mut left = taken;
        while left > 0 {
            let part = left.min(PLAIN_BYTES_MAX);
            self.seal_in_place(ContentType::ApplicationData, part)?;
            left -= part;
        }
        self.begin_sending(socket, context)?;
        Poll::Ready(Ok(taken))
    }

    /// Has all that was taken go out.
    pub(in crate::tls) fn poll_flush(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(socket.as_mut(), context))?;
        if self.buffer.len() > IDLE_BYTES_MAX {
            self.buffer = Vec::new();
        }
        socket.poll_flush(context)
    }

    /// Says that this was all, or what went wrong, after all that was taken.
    pub(in crate::tls) fn poll_shutdown(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        link: &Link,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_ended {
            let alert = link.last_word();
            let level = if alert == AlertDescription::CloseNotify { WARNING } else { FATAL };
            self.seal(ContentType::Alert, &[level, alert.into()])?;
            self.has_ended = true;
        }
        ready!(self.poll_flush(socket.as_mut(), context))?;
        socket.poll_shutdown(context)
    }

    /// What goes before content: the key is changed where the peer has asked for it, or where it is worn.
    fn begin(&mut self, link: &Link) -> io::Result<()> {
        if self.has_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.key.is_worn() || link.pay_key_update() {
            self.seal(ContentType::Handshake, &KEY_UPDATE)?;
            self.key = link.next_sealing_key().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Makes a record of its own of some plaintext.
    pub(in crate::tls) fn seal(&mut self, kind: ContentType, plain: &[u8]) -> io::Result<()> {
        let record = self.room(plain.len() + AROUND_BYTES);
        record[HEADER_BYTES..][..plain.len()].copy_from_slice(plain);
        self.seal_in_place(kind, plain.len())
    }

    /// Seals what lies where the next record's plaintext does.
    fn seal_in_place(&mut self, kind: ContentType, plain_bytes: usize) -> io::Result<()> {
        let end = self.filled + plain_bytes + AROUND_BYTES;
        let sealed = self.key.seal(kind, &mut self.buffer[self.filled..end]);
        sealed.map_err(|error: Error| io::Error::other(error))?;
        self.filled = end;
        Ok(())
    }

    /// Room for records behind those that are there.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.filled + bytes;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.filled..end]
    }

    /// Waits until little enough is queued.
    fn poll_make_room(
        &mut self,
        socket: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let is_little = self.sent == 0 && self.filled <= AHEAD_BYTES;
        if is_little { Poll::Ready(Ok(())) } else { self.poll_drain(socket, context) }
    }

    /// Sends what the socket takes at once; the rest goes out with what follows, or with [`Self::poll_flush`].
    fn begin_sending(
        &mut self,
        socket: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        match self.poll_drain(socket, context) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_drain(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.filled {
            let waiting = &self.buffer[self.sent..self.filled];
            match ready!(socket.as_mut().poll_write(context, waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => {
                    self.sent += sent;
                    self.sent_in_all += sent as u64;
                }
            }
        }
        (self.filled, self.sent) = (0, 0);
        Poll::Ready(Ok(()))
    }
}
