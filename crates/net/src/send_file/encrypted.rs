//! Reading a file to where it is encrypted on its way to the socket.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags, preadv, preadv2};
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use super::SendError;
use crate::tls::Writer;

/// Bytes read from a disk at once.
const READ_BYTES_MAX: usize = 128 * 1_024;

/// Sends some bytes from `offset`, at most `length`; 0 at the end of the file.
pub(super) async fn send(
    writer: &mut Writer<'_>,
    file: &Arc<File>,
    offset: u64,
    length: usize,
) -> Result<usize, SendError> {
    let cached = poll_fn(|context| {
        writer.poll_write_with(context, length, |places| read_cached(file, places, offset))
    });
    match cached.await {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let read = read_from_disk(file, offset, length.min(READ_BYTES_MAX)).await;
            let bytes = read.map_err(SendError::Read)?;
            // What is not taken now is read again: the page cache has it.
            if bytes.is_empty() { Ok(0) } else { Ok(writer.write(&bytes).await?) }
        }
        sent => Ok(sent?),
    }
}

/// Reads what is in memory; fails with `WouldBlock` where the disk must be waited for, or fails.
fn read_cached(file: &File, places: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
    let read = match preadv2(file, places, offset, ReadWriteFlags::NOWAIT) {
        // A file system that cannot tell is read at once.
        Err(error) if error != Errno::AGAIN => preadv(file, places, offset),
        read => read,
    };
    read.map_err(|_| io::ErrorKind::WouldBlock.into())
}

/// Reads on the blocking pool, so that only this connection waits for the disk.
async fn read_from_disk(file: &Arc<File>, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let file = Arc::clone(file);
    let reading = spawn_blocking(move || {
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    });
    reading.await?
}
