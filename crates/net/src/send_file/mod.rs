//! Sending a range of a file over a socket: the send path is chosen here and nowhere else.
//!
//! On Linux the bytes go from the page cache to the socket by `sendfile` without passing through this
//! process; where that is not to be had they are read and written. What is to be encrypted is read.

#[cfg(target_os = "linux")]
mod linux;

mod encrypted;
mod fallback;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stream::Outgoing;
use crate::tls::Writer;

/// How a file is sent.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions {
    /// Bytes handed to the kernel at once.
    pub chunk_bytes: usize,
    /// Longest time in which the peer takes no byte at all.
    pub stall_max: Duration,
}

/// Why a range of a file was not sent whole.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The file ends before the range does: it was truncated meanwhile.
    #[error("the file became shorter than {0} bytes while it was sent")]
    Shrunk(u64),
    /// The peer took no byte for too long.
    #[error("the peer took no byte for {0:?}")]
    Stalled(Duration),
    /// Reading the file failed.
    #[error("reading it failed: {0}")]
    Read(#[source] io::Error),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Sends `range` of `file`, telling `on_sent` how many bytes each step moved.
///
/// The file's own offset is neither used nor moved, so that one open file serves many connections.
pub async fn send_file(
    outgoing: &mut Outgoing<'_>,
    file: &Arc<File>,
    range: Range<u64>,
    options: SendOptions,
    mut on_sent: impl FnMut(u64),
) -> Result<(), SendError> {
    let mut path = Path::best(outgoing);
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        let length = left.min(options.chunk_bytes);
        let before = path.progress();
        let Ok(sent) = timeout(options.stall_max, path.send(file, offset, length)).await else {
            if path.progress() > before {
                continue;
            }
            return Err(SendError::Stalled(options.stall_max));
        };
        match sent {
            Ok(0) => return Err(SendError::Shrunk(range.end)),
            Ok(sent) => {
                offset += sent as u64;
                on_sent(sent as u64);
            }
            Err(error) => path = path.instead(error)?,
        }
    }
    Ok(())
}

/// The ways from a file to a connection.
enum Path<'a, 'b> {
    #[cfg(target_os = "linux")]
    Sendfile(&'a TcpStream),
    ReadWrite(&'a TcpStream),
    Encrypted(&'a mut Writer<'b>),
}

impl<'a, 'b> Path<'a, 'b> {
    fn best(outgoing: &'a mut Outgoing<'b>) -> Self {
        match outgoing {
            #[cfg(target_os = "linux")]
            Outgoing::Plain(writer) => Self::Sendfile((*writer).as_ref()),
            #[cfg(not(target_os = "linux"))]
            Outgoing::Plain(writer) => Self::ReadWrite((*writer).as_ref()),
            Outgoing::Tls(writer) => Self::Encrypted(writer),
        }
    }

    /// See [`Outgoing::progress`].
    fn progress(&self) -> u64 {
        if let Self::Encrypted(writer) = self { writer.sent_in_all() } else { 0 }
    }

    /// Sends some bytes from `offset`, at most `length`; 0 at the end of the file.
    async fn send(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        length: usize,
    ) -> Result<usize, SendError> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Sendfile(stream) => linux::send(stream, file, offset, length).await,
            Self::ReadWrite(stream) => fallback::send(stream, file, offset, length).await,
            Self::Encrypted(writer) => encrypted::send(writer, file, offset, length).await,
        }
    }

    /// The fallback path, if `error` may mean that `sendfile` does not work for this file.
    fn instead(self, error: SendError) -> Result<Self, SendError> {
        match (self, error) {
            #[cfg(target_os = "linux")]
            (Self::Sendfile(stream), SendError::Io(error)) if !linux::is_the_peers(&error) => {
                Ok(Self::ReadWrite(stream))
            }
            (_, error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::io::Errno;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{Path, SendError, SendOptions, fallback, send_file};
    use crate::peeked::Peeked;
    use crate::stream::Stream;
    use crate::tls::Expectation;
    use crate::tls::client::Connector;
    use crate::tls::identity::Identity;
    use crate::tls::server::Acceptor;

    const OPTIONS: SendOptions =
        SendOptions { chunk_bytes: 64 * 1_024, stall_max: Duration::from_secs(30) };

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    fn file(content: &[u8]) -> Arc<std::fs::File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    /// A server's end, which sends files, and a client's.
    async fn encrypted() -> (Stream, Stream) {
        let acceptor = Acceptor::new(Identity::ephemeral().unwrap()).unwrap();
        let connector = Connector::new("files.example", Expectation::Anything(None)).unwrap();
        let (near, far) = connection().await;
        let (near, far) =
            tokio::join!(acceptor.accept(Peeked::new(near)), connector.connect(Peeked::new(far)));
        (Stream::tls(near.unwrap()), Stream::tls(far.unwrap()))
    }

    #[tokio::test]
    async fn exactly_the_range_arrives() {
        let (near, far) = connection().await;
        assert_exactly_the_range_arrives(Stream::plain(near), Stream::plain(far)).await;
        let (near, far) = encrypted().await;
        assert_exactly_the_range_arrives(near, far).await;
    }

    async fn assert_exactly_the_range_arrives(mut near: Stream, mut far: Stream) {
        let content: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let file = file(&content);
        let mut counted = 0;
        let (sent, received) = tokio::join!(
            async {
                let range = 10..999_990;
                let (_, mut outgoing) = near.split();
                let counting = |sent| counted += sent;
                let result = send_file(&mut outgoing, &file, range, OPTIONS, counting).await;
                near.shutdown().await.unwrap();
                result
            },
            async {
                let mut received = Vec::new();
                far.read_to_end(&mut received).await.map(|_| received)
            }
        );
        sent.unwrap();
        assert!(received.unwrap() == content[10..999_990]);
        assert_eq!(counted, 999_980);
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_told_and_not_padded() {
        let (near, _far) = connection().await;
        let (encrypted, _its_far) = encrypted().await;
        for mut near in [Stream::plain(near), encrypted] {
            let (_, mut outgoing) = near.split();
            let sent = send_file(&mut outgoing, &file(b"short"), 0..6, OPTIONS, |_| ()).await;
            let error = sent.unwrap_err();
            assert!(matches!(error, SendError::Shrunk(6)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_told_from_a_peer_that_is_gone() {
        let folder = || Arc::new(std::fs::File::open(std::env::temp_dir()).unwrap());
        let (near, _far) = connection().await;
        let (encrypted, _its_far) = encrypted().await;
        for mut near in [Stream::plain(near), encrypted] {
            let (_, mut outgoing) = near.split();
            let sent = send_file(&mut outgoing, &folder(), 0..6, OPTIONS, |_| ()).await;
            let error = sent.unwrap_err();
            assert!(matches!(error, SendError::Read(_)), "{error}");
        }
        let (near, far) = connection().await;
        drop(far);
        let mut near = Stream::plain(near);
        let (_, mut outgoing) = near.split();
        let file = file(&vec![0; 64 << 20]);
        let sent = send_file(&mut outgoing, &file, 0..64 << 20, OPTIONS, |_| ()).await;
        let error = sent.unwrap_err();
        assert!(matches!(error, SendError::Io(_)), "{error}");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, _far) = connection().await;
        let (encrypted, _its_far) = encrypted().await;
        let options = SendOptions { stall_max: Duration::from_millis(50), ..OPTIONS };
        let file = file(&vec![0; 64 << 20]);
        for mut near in [Stream::plain(near), encrypted] {
            let (_, mut outgoing) = near.split();
            let sent = send_file(&mut outgoing, &file, 0..64 << 20, options, |_| ()).await;
            let error = sent.unwrap_err();
            assert!(matches!(error, SendError::Stalled(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn reading_and_writing_sends_the_same_as_sendfile() {
        let (near, mut far) = connection().await;
        let file = file(b"0123456789");
        assert_eq!(fallback::send(&near, &file, 2, 5).await.unwrap(), 5);
        assert_eq!(fallback::send(&near, &file, 10, 5).await.unwrap(), 0);
        let mut received = [0; 5];
        far.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"23456");
        let error = |errno: Errno| SendError::Io(errno.into());
        for unclear in [Errno::INVAL, Errno::IO] {
            let instead = Path::Sendfile(&near).instead(error(unclear));
            assert!(matches!(instead, Ok(Path::ReadWrite(_))), "{unclear}");
            assert!(Path::ReadWrite(&near).instead(error(unclear)).is_err());
        }
        assert!(Path::Sendfile(&near).instead(error(Errno::PIPE)).is_err());
    }
}
