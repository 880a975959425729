//! Ending a connection so that the peer still gets all that was sent to it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes read at once while draining.
const DRAIN_CHUNK_BYTES: usize = 4 * 1_024;

/// Shuts down writing, then reads and drops what the peer still sends, at most `drain_bytes_max` bytes, and
/// waits until the peer closes as well, for at most `patience`.
///
/// Closing a socket with unread bytes in it makes the kernel send a reset, which can overtake the end of
/// the reply and destroy it at the peer (RFC 1122, section 4.2.2.13). A peer that sends more than is drained
/// is therefore held back, not reset at once: it has `patience` to take its reply.
pub async fn close_after_reply<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    drain_bytes_max: usize,
    patience: Duration,
) {
    let drain = async {
        stream.shutdown().await?;
        let mut chunk = [0; DRAIN_CHUNK_BYTES];
        let mut drained = 0;
        while drained < drain_bytes_max {
            match stream.read(&mut chunk).await? {
                0 => return Ok(()),
                length => drained += length,
            }
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    // The reply is out; whatever goes wrong now has nobody left to be told.
    let _ = timeout(patience, drain).await;
}
