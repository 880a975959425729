//! A stream whose first bytes were looked at and are read again by whoever takes it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A stream with some bytes already read from it; reading replays them first.
#[derive(Debug)]
pub struct Peeked<S> {
    stream: S,
    first_bytes: Vec<u8>,
    replayed: usize,
}

impl<S> Peeked<S> {
    /// Wraps a stream of which nothing was read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, first_bytes: Vec::new(), replayed: 0 }
    }

    /// The stream below, for what does not read: sending a file, socket options.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream below, once all that was peeked at has been read.
    pub fn into_inner(self) -> S {
        debug_assert_eq!(self.replayed, self.first_bytes.len());
        self.stream
    }

    /// The stream below, for what does not read.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> Peeked<S> {
    /// Reads until `settle` makes something of the first bytes; they stay to be read. `None` when the
    /// stream ended, or brought `bytes_max` bytes, before anything was settled.
    pub async fn peek_until<T>(
        &mut self,
        bytes_max: usize,
        settle: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        self.first_bytes.reserve_exact(bytes_max);
        loop {
            if let Some(settled) = settle(&self.first_bytes) {
                return Ok(Some(settled));
            }
            let room = bytes_max - self.first_bytes.len();
            let mut limited = (&mut self.stream).take(room as u64);
            if limited.read_buf(&mut self.first_bytes).await? == 0 {
                return Ok(None);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = &this.first_bytes[this.replayed..];
        if waiting.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let length = waiting.len().min(buffer.remaining());
        buffer.put_slice(&waiting[..length]);
        this.replayed += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::Peeked;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn peeked_bytes_are_read_again_before_the_rest() {
        let (mut sender, receiver) = tokio::io::duplex(2);
        let sending = tokio::spawn(async move { sender.write_all(b"hello, world").await });
        let mut peeked = Peeked::new(receiver);
        let comma = |bytes: &[u8]| bytes.contains(&b',').then_some(());
        assert_eq!(peeked.peek_until(8, comma).await.unwrap(), Some(()));
        let mut all = String::new();
        peeked.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "hello, world");
        sending.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn peeking_ends_at_its_bound_and_at_the_end_of_the_stream() {
        let never = |_: &[u8]| None::<()>;
        assert_eq!(Peeked::new(b"abcdef".as_slice()).peek_until(3, never).await.unwrap(), None);
        assert_eq!(Peeked::new(b"ab".as_slice()).peek_until(3, never).await.unwrap(), None);
    }
}
