//! A connection, plain or encrypted, as a whole and in two halves.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp;

use crate::peeked::Peeked;
use crate::tls::{Reader, TlsStream, Writer};

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Everything goes over the wire as it is.
    Plain(Peeked<TcpStream>),
    /// Everything is encrypted.
    Tls(Box<Peeked<TlsStream>>),
}

/// The half that reads.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// See [`Stream::Plain`].
    Plain(tcp::ReadHalf<'a>),
    /// See [`Stream::Tls`].
    Tls(Reader<'a>),
}

/// The half that writes.
#[derive(Debug)]
pub enum Outgoing<'a> {
    /// See [`Stream::Plain`]. The kernel may be handed files.
    Plain(tcp::WriteHalf<'a>),
    /// See [`Stream::Tls`].
    Tls(Writer<'a>),
}

/// Whether more is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// At once: these bytes need no packet of their own.
    Follows,
    /// Not at once: these bytes must go out.
    MayNotFollow,
}

impl Stream {
    /// A connection without encryption.
    pub fn plain(stream: TcpStream) -> Self {
        Self::Plain(Peeked::new(stream))
    }

    /// An encrypted connection.
    pub fn tls(stream: TlsStream) -> Self {
        Self::Tls(Box::new(Peeked::new(stream)))
    }

    /// The socket at the bottom.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream.get_ref(),
            Self::Tls(stream) => stream.get_ref().get_ref(),
        }
    }

    /// Two halves for two tasks. What was peeked at must have been read by then.
    pub fn split(&mut self) -> (Incoming<'_>, Outgoing<'_>) {
        match self {
            Self::Plain(stream) => {
                let (reader, writer) = stream.get_mut().split();
                (Incoming::Plain(reader), Outgoing::Plain(writer))
            }
            Self::Tls(stream) => {
                let (reader, writer) = stream.get_mut().split();
                (Incoming::Tls(reader), Outgoing::Tls(writer))
            }
        }
    }
}

impl Outgoing<'_> {
    /// Sends some of `bytes` and tells how many.
    pub async fn send(&mut self, bytes: &[u8], more: More) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => {
                let flags = match more {
                    More::Follows => SendFlags::NOSIGNAL | SendFlags::MORE,
                    More::MayNotFollow => SendFlags::NOSIGNAL,
                };
                let socket: &TcpStream = stream.as_ref();
                let send = || rustix::net::send(socket, bytes, flags).map_err(Into::into);
                socket.async_io(Interest::WRITABLE, send).await
            }
            Self::Tls(writer) => match more {
                More::Follows => poll_fn(|context| writer.poll_queue(context, bytes)).await,
                More::MayNotFollow => writer.write(bytes).await,
            },
        }
    }

    /// Bytes the socket has accepted so far, those queued earlier included; if this grew, a send that timed out was not
    /// stalled.
    pub fn progress(&self) -> u64 {
        match self {
            // The system has all of it.
            Self::Plain(_) => 0,
            Self::Tls(writer) => writer.sent_in_all(),
        }
    }

    /// Waits until the system has all that was sent.
    pub async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(writer) => writer.flush().await,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

impl AsyncRead for Incoming<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}
