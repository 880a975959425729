//! An encrypted connection, once hands are shaken.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, tcp};

use super::handshake::{Agreed, Shaken};
use super::records::{Link, Opening, RecordKey, Sealing};

/// An encrypted connection, as both ends have it.
pub struct TlsStream<S = TcpStream> {
    socket: S,
    opening: Opening,
    sealing: Sealing,
    link: Link,
    agreed: Agreed,
}

/// The half that opens what the peer sends.
pub struct Reader<'a> {
    socket: tcp::ReadHalf<'a>,
    opening: &'a mut Opening,
    link: &'a Link,
}

/// The half that seals what the peer is sent.
pub struct Writer<'a> {
    socket: tcp::WriteHalf<'a>,
    sealing: &'a mut Sealing,
    link: &'a Link,
}

impl<S> TlsStream<S> {
    /// With the keys that a handshake has led to. So many bytes are read from the socket at once.
    pub(super) fn new(socket: S, shaken: Shaken, read_bytes: usize) -> Result<Self, Error> {
        let Shaken { agreed, secrets, side, came } = shaken;
        let opening = Opening::new(RecordKey::new(secrets.rx)?, came, read_bytes);
        let sealing = Sealing::new(RecordKey::new(secrets.tx)?);
        Ok(Self { socket, opening, sealing, link: Link::new(side), agreed })
    }

    /// What the two ends have agreed on.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// The stream below, for what neither reads nor writes.
    pub fn get_ref(&self) -> &S {
        &self.socket
    }
}

impl TlsStream {
    /// Two halves for two tasks.
    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let (reader, writer) = self.socket.split();
        let link = &self.link;
        (
            Reader { socket: reader, opening: &mut self.opening, link },
            Writer { socket: writer, sealing: &mut self.sealing, link },
        )
    }
}

impl Writer<'_> {
    /// How many bytes of records the socket has taken.
    pub(crate) fn sent_in_all(&self) -> u64 {
        self.sealing.sent_in_all()
    }

    /// Takes some bytes that may wait for what follows them, and tells how many.
    pub(crate) fn poll_queue(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sealing.poll_queue(Pin::new(&mut self.socket), self.link, context, bytes)
    }

    /// Sends at most `length` bytes that `read` puts where they are sealed, and tells how many it has put there.
    pub(crate) fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        self.sealing.poll_write_with(socket, self.link, context, length, read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.opening.poll_read(Pin::new(&mut this.socket), &this.link, context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.sealing.poll_write(Pin::new(&mut this.socket), &this.link, context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.sealing.poll_flush(Pin::new(&mut this.socket), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.sealing.poll_shutdown(Pin::new(&mut this.socket), &this.link, context)
    }
}

impl AsyncRead for Reader<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.opening.poll_read(Pin::new(&mut this.socket), this.link, context, buffer)
    }
}

impl AsyncWrite for Writer<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.sealing.poll_write(Pin::new(&mut this.socket), this.link, context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.sealing.poll_flush(Pin::new(&mut this.socket), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.sealing.poll_shutdown(Pin::new(&mut this.socket), this.link, context)
    }
}

// Keys have no place in a log.
impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("TlsStream");
        shown.field("socket", &self.socket).field("agreed", &self.agreed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").field("socket", &self.socket).finish_non_exhaustive()
    }
}
