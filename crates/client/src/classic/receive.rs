//! Receiving content: reading from the network, hashing and writing overlap, each in its own thread.
//!
//! Chunks are shared, not copied: the hasher and the writer each hold the one that the reader filled. A
//! fixed number of buffers goes round, so that a slow disk slows the network down and memory stays flat.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use md5::{Digest, Md5};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use towline_proto::digest::Md5Digest;
use towline_store::staged::Staged;

use super::Options;
use super::error::{AttemptError, Phase, in_time};
use crate::blocking::joined;

/// Buffers that go round: enough for all three to have one at hand and one in hand.
const BUFFERS: usize = 8;

/// Received bytes; the buffer goes back to the reader when the last who holds them lets go.
struct Chunk {
    bytes: Vec<u8>,
    free: mpsc::Sender<Vec<u8>>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // There is room for every buffer; if the reader is gone, the buffer may go too.
        let _ = self.free.try_send(std::mem::take(&mut self.bytes));
    }
}

/// Receives exactly `size` bytes into the staged file and returns their MD5, telling `on_received` the bytes
/// of each step.
pub(super) async fn receive(
    stream: &mut TcpStream,
    size: u64,
    staged: &Staged,
    options: &Options,
    on_received: impl FnMut(u64),
) -> Result<Md5Digest, AttemptError> {
    let (to_hasher, hasher) = worker(hash);
    let file = Arc::clone(staged.file());
    let (to_writer, writer) = worker(move |chunks| write(&file, chunks));
    let sinks = [to_hasher, to_writer];
    let read = read_chunks(stream, size, options, sinks, on_received).await;
    let written = joined(writer.await);
    let md5 = joined(hasher.await);
    // A failed write ends the reading too, and is then its cause.
    written.map_err(|error| staged.write_failed(error))?;
    read?;
    Ok(md5)
}

/// A thread that takes chunks in order.
fn worker<T: Send + 'static>(
    work: impl FnOnce(mpsc::Receiver<Arc<Chunk>>) -> T + Send + 'static,
) -> (mpsc::Sender<Arc<Chunk>>, JoinHandle<T>) {
    let (sender, chunks) = mpsc::channel(BUFFERS);
    (sender, spawn_blocking(move || work(chunks)))
}

fn hash(mut chunks: mpsc::Receiver<Arc<Chunk>>) -> Md5Digest {
    let mut md5 = Md5::new();
    while let Some(chunk) = chunks.blocking_recv() {
        md5.update(&chunk.bytes);
    }
    Md5Digest(md5.finalize().into())
}

fn write(file: &File, mut chunks: mpsc::Receiver<Arc<Chunk>>) -> io::Result<()> {
    let mut offset = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        file.write_all_at(&chunk.bytes, offset)?;
        offset += chunk.bytes.len() as u64;
    }
    Ok(())
}

/// Reads the content chunk by chunk and hands each to all `sinks`. Ends early, without an error of its own,
/// when a sink is gone.
async fn read_chunks(
    stream: &mut TcpStream,
    size: u64,
    options: &Options,
    sinks: [mpsc::Sender<Arc<Chunk>>; 2],
    mut on_received: impl FnMut(u64),
) -> Result<(), AttemptError> {
    let (free, mut buffers) = mpsc::channel(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = free.try_send(Vec::new());
    }
    let mut left = size;
    while left > 0 {
        let Some(mut bytes) = buffers.recv().await else {
            return Ok(());
        };
        bytes.clear();
        bytes.reserve_exact(options.chunk_bytes);
        let wanted = left.min(options.chunk_bytes as u64);
        fill(stream, &mut bytes, wanted, options, &mut on_received).await?;
        left -= wanted;
        let chunk = Arc::new(Chunk { bytes, free: free.clone() });
        for sink in &sinks {
            if sink.send(Arc::clone(&chunk)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads exactly `wanted` bytes.
async fn fill(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    wanted: u64,
    options: &Options,
    on_received: &mut impl FnMut(u64),
) -> Result<(), AttemptError> {
    let mut limited = stream.take(wanted);
    while limited.limit() > 0 {
        match in_time(Phase::Content, options, limited.read_buf(bytes)).await? {
            0 => {
                return Err(AttemptError::Closed { phase: Phase::Content });
            }
            read => on_received(read as u64),
        }
    }
    Ok(())
}
