//! Reading and writing, for systems and files without `sendfile`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use super::SendError;

/// Most bytes read ahead of one write: what does not fit into the socket is read again.
const READ_BYTES_MAX: usize = 64 * 1_024;

/// Sends some bytes from `offset`, at most `length`; 0 at the end of the file.
pub(super) async fn send(
    stream: &TcpStream,
    file: &Arc<File>,
    offset: u64,
    length: usize,
) -> Result<usize, SendError> {
    let file = Arc::clone(file);
    let reading = spawn_blocking(move || {
        let mut bytes = vec![0; length.min(READ_BYTES_MAX)];
        let read = file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    });
    let bytes = reading.await.unwrap_or_else(|error| Err(error.into())).map_err(SendError::Read)?;
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        stream.writable().await?;
        match stream.try_write(&bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Ok(result?),
        }
    }
}
