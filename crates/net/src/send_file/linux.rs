//! `sendfile(2)`, without letting a cold disk stall the runtime.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use super::SendError;

/// Sends some bytes from `offset`, at most `length`; 0 at the end of the file.
pub(super) async fn send(
    stream: &TcpStream,
    file: &Arc<File>,
    offset: u64,
    length: usize,
) -> Result<usize, SendError> {
    if !ends_in_page_cache(file, offset, length) {
        fill_page_cache(file, offset, length).await.map_err(SendError::Read)?;
    }
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut position = offset;
            rustix::fs::sendfile(stream, file, Some(&mut position), length).map_err(Into::into)
        })
        .await;
    Ok(sent?)
}

/// Whether an error of `sendfile` says that the peer is gone. Any other may be the file's, or mean that it cannot be
/// sent this way.
pub(super) fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Whether the last byte of a range is in memory. The kernel reads ahead in order, so that the bytes
/// before it are then most likely there too; where they are not, `sendfile` waits for the disk.
fn ends_in_page_cache(file: &File, offset: u64, length: usize) -> bool {
    let mut byte = [0];
    let last = offset + (length as u64).saturating_sub(1);
    let probe = preadv2(file, &mut [IoSliceMut::new(&mut byte)], last, ReadWriteFlags::NOWAIT);
    // A file system that cannot tell answers with another error: nothing is gained by asking it.
    probe != Err(Errno::AGAIN)
}

/// Reads the range from the disk on the blocking pool, so that only this connection waits for it.
async fn fill_page_cache(file: &Arc<File>, offset: u64, length: usize) -> io::Result<()> {
    let file = Arc::clone(file);
    spawn_blocking(move || file.read_at(&mut vec![0; length], offset).map(drop)).await?
}
