//! Reading a whole file once and hashing it on the way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use md5::{Digest, Md5};
use rustix::fs::{Advice, fadvise};
use towline_proto::digest::Md5Digest;
use towline_proto::piece::{Geometry, PieceHash, PieceHasher};

/// Bytes read and hashed at once: small enough to stay in a core's cache in between.
const CHUNK_BYTES: usize = 256 * 1_024;

/// The hashes of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHashes {
    /// BLAKE3, which identifies the content.
    pub blake3: blake3::Hash,
    /// MD5, as the classic protocol shows it.
    pub md5: Md5Digest,
    /// Bytes that were hashed.
    pub bytes: u64,
}

/// Whether to go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Read on.
    GoOn,
    /// Give up; nobody wants the result any more.
    Stop,
}

/// Hashes a file's content by BLAKE3 and MD5, telling `on_read` the bytes of each step.
pub fn hash_file(file: &File, mut on_read: impl FnMut(u64)) -> io::Result<FileHashes> {
    let (mut blake3, mut md5) = (blake3::Hasher::new(), Md5::new());
    let mut bytes = 0;
    read_through(file, |chunk| {
        blake3.update(chunk);
        md5.update(chunk);
        bytes += chunk.len() as u64;
        on_read(chunk.len() as u64);
        Pace::GoOn
    })?;
    Ok(FileHashes { blake3: blake3.finalize(), md5: Md5Digest(md5.finalize().into()), bytes })
}

/// The MD5 of a file's content, `None` if `pace` stopped it; asked before each step.
pub fn md5_of(file: &File, pace: impl Fn() -> Pace) -> io::Result<Option<Md5Digest>> {
    let mut md5 = Md5::new();
    let mut stopped = false;
    read_through(file, |chunk| {
        md5.update(chunk);
        let pace = pace();
        stopped = pace == Pace::Stop;
        pace
    })?;
    Ok((!stopped).then(|| Md5Digest(md5.finalize().into())))
}

/// The hash of a piece of a file, `None` where there is no such piece or the file ends before it does.
pub fn hash_piece(file: &File, geometry: Geometry, index: u32) -> io::Result<Option<PieceHash>> {
    let (Some(piece), Some(mut hasher)) =
        (geometry.piece(index), PieceHasher::new(geometry, index))
    else {
        return Ok(None);
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    while hasher.left() > 0 {
        let wanted = usize::try_from(hasher.left()).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        match file.read_at(&mut chunk[..wanted], piece.end - hasher.left()) {
            Ok(0) => return Ok(None),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}

/// Reads a file from its first byte to its last, in order, until `on_chunk` says to stop.
fn read_through(file: &File, mut on_chunk: impl FnMut(&[u8]) -> Pace) -> io::Result<()> {
    // Advice only: a file system that does not take it reads all the same.
    let _ = fadvise(file, 0, None, Advice::Sequential);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let read = match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if on_chunk(&chunk[..read]) == Pace::Stop {
            return Ok(());
        }
        offset += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Pace, hash_file, md5_of};

    #[test]
    fn the_hashes_are_the_published_ones() {
        let mut file = tempfile::tempfile().unwrap();
        let empty = hash_file(&file, |_| ()).unwrap();
        assert_eq!(empty.md5.to_string(), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(empty.blake3, blake3::hash(b""));
        file.write_all(b"abc").unwrap();
        let abc = hash_file(&file, |_| ()).unwrap();
        assert_eq!(abc.md5.to_string(), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!((abc.blake3, abc.bytes), (blake3::hash(b"abc"), 3));
    }

    #[test]
    fn hashing_stops_when_nobody_waits() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        assert_eq!(md5_of(&file, || Pace::Stop).unwrap(), None);
        assert!(md5_of(&file, || Pace::GoOn).unwrap().is_some());
    }
}
