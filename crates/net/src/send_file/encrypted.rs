//! Reading a file and encrypting it on its way to the socket.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use crate::stream::Encrypting;

/// Bytes read and encrypted at once: few enough to be in the processor's cache the second time.
const STEP_BYTES: usize = 128 * 1_024;

/// Sends some bytes from `offset`, at most `length`; 0 at the end of the file.
pub(super) async fn send(
    encrypting: &mut Encrypting<'_>,
    file: &Arc<File>,
    offset: u64,
    length: usize,
) -> io::Result<usize> {
    let Encrypting { writer, buffer } = encrypting;
    buffer.resize(STEP_BYTES, 0);
    let length = length.min(STEP_BYTES);
    let read = match read_cached(file, &mut buffer[..length], offset) {
        Some(read) => read?,
        None => read_from_disk(file, buffer, offset, length).await?,
    };
    // What does not fit now is read again: the page cache has it.
    if read == 0 { Ok(0) } else { writer.write(&buffer[..read]).await }
}

/// Reads what is in memory; `None` where the disk must be waited for.
fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> Option<io::Result<usize>> {
    match preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
        Ok(read) => Some(Ok(read)),
        Err(Errno::AGAIN) => None,
        // A file system that cannot tell is read at once.
        Err(_) => Some(file.read_at(buffer, offset)),
    }
}

/// Reads on the blocking pool, so that only this connection waits for the disk.
async fn read_from_disk(
    file: &Arc<File>,
    buffer: &mut Vec<u8>,
    offset: u64,
    length: usize,
) -> io::Result<usize> {
    let (file, mut bytes) = (Arc::clone(file), std::mem::take(buffer));
    let reading = spawn_blocking(move || {
        let read = file.read_at(&mut bytes[..length], offset);
        (read, bytes)
    });
    let (read, bytes) = reading.await?;
    *buffer = bytes;
    read
}
