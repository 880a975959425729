//! Reading files and their pieces once, at one go or a part at a time, and hashing them on the way.

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

/// The MD5 of a file's content, computed a part at a time.
#[derive(Debug, Default)]
pub struct FileMd5 {
    md5: Md5,
    offset: u64,
}

/// The hash of a piece of a file, computed a part at a time.
#[derive(Debug)]
pub struct FilePiece {
    hasher: PieceHasher,
    end: u64,
}

/// How far reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<H> {
    /// To the end.
    Ended(H),
    /// As far as it was asked for, or wanted.
    Paused,
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
    })?;
    Ok(FileHashes { blake3: blake3.finalize(), md5: Md5Digest(md5.finalize().into()), bytes })
}

/// Hashes a file's content by BLAKE3 alone.
pub fn blake3_of(file: &File) -> io::Result<blake3::Hash> {
    let mut blake3 = blake3::Hasher::new();
    read_through(file, |chunk| {
        blake3.update(chunk);
    })?;
    Ok(blake3.finalize())
}

impl FileMd5 {
    /// Reads on, for some `bytes` and as long as `is_wanted`, which is asked after each step. It is always the same file.
    pub fn read_on(
        &mut self,
        file: &File,
        bytes: u64,
        is_wanted: impl Fn() -> bool,
    ) -> io::Result<Reading<Md5Digest>> {
        if self.offset == 0 {
            read_ahead_of(file);
        }
        let pause = self.offset.saturating_add(bytes);
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.offset < pause && is_wanted() {
            let read = read_some(file, &mut chunk, self.offset)?;
            if read == 0 {
                return Ok(Reading::Ended(Md5Digest(self.md5.clone().finalize().into())));
            }
            self.md5.update(&chunk[..read]);
            self.offset += read as u64;
        }
        Ok(Reading::Paused)
    }
}

impl FilePiece {
    /// Begins a piece, `None` if there is no such piece.
    pub fn new(geometry: Geometry, index: u32) -> Option<Self> {
        let end = geometry.piece(index)?.end;
        Some(Self { hasher: PieceHasher::new(geometry, index)?, end })
    }

    /// Reads on, for some `bytes`. Fails with [`io::ErrorKind::UnexpectedEof`] where the file ends before the piece does. It
    /// is always the same file.
    pub fn read_on(&mut self, file: &File, bytes: u64) -> io::Result<Reading<PieceHash>> {
        let pause = self.hasher.left().saturating_sub(bytes);
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.hasher.left() > pause {
            let left = self.hasher.left();
            let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            match read_some(file, &mut chunk[..wanted], self.end - left)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.hasher.update(&chunk[..read]),
            }
        }
        Ok(self.hasher.finish().map_or(Reading::Paused, Reading::Ended))
    }
}

/// The hash of a piece of a file, `None` where there is no such piece or the file ends before it does.
pub fn hash_piece(file: &File, geometry: Geometry, index: u32) -> io::Result<Option<PieceHash>> {
    let Some(mut piece) = FilePiece::new(geometry, index) else { return Ok(None) };
    match piece.read_on(file, u64::MAX) {
        Ok(Reading::Ended(hash)) => Ok(Some(hash)),
        Ok(Reading::Paused) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a file from its first byte to its last, in order.
fn read_through(file: &File, mut on_chunk: impl FnMut(&[u8])) -> io::Result<()> {
    read_ahead_of(file);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        match read_some(file, &mut chunk, offset)? {
            0 => return Ok(()),
            read => {
                on_chunk(&chunk[..read]);
                offset += read as u64;
            }
        }
    }
}

/// Tells the system that a file is about to be read in order. Advice only: a file system that does not take it reads all
/// the same.
fn read_ahead_of(file: &File) {
    let _ = fadvise(file, 0, None, Advice::Sequential);
}

/// How many bytes were read; none at the file's end.
fn read_some(file: &File, chunk: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(chunk, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use towline_proto::piece::Geometry;

    use super::{FileMd5, FilePiece, Reading, hash_file, hash_piece};

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
    fn what_is_read_in_parts_has_the_hash_of_the_whole() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let whole = hash_file(&file, |_| ()).unwrap().md5;
        let mut hashing = FileMd5::default();
        assert_eq!(hashing.read_on(&file, u64::MAX, || false).unwrap(), Reading::Paused);
        let mut parts = 0;
        let md5 = loop {
            match hashing.read_on(&file, 1, || true).unwrap() {
                Reading::Paused => parts += 1,
                Reading::Ended(md5) => break md5,
            }
        };
        assert_eq!((md5, parts), (whole, 4));
    }

    #[test]
    fn a_piece_that_is_read_in_parts_has_the_hash_that_it_has_at_one_go() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; (2 << 20) + 5]).unwrap();
        let geometry = Geometry::of((2 << 20) + 5).unwrap();
        for (index, pauses) in [(0, 3), (2, 0)] {
            let mut piece = FilePiece::new(geometry, index).unwrap();
            let mut parts = 0;
            let hash = loop {
                match piece.read_on(&file, 1).unwrap() {
                    Reading::Paused => parts += 1,
                    Reading::Ended(hash) => break hash,
                }
            };
            assert_eq!((Some(hash), parts), (hash_piece(&file, geometry, index).unwrap(), pauses));
        }
        assert!(FilePiece::new(geometry, 3).is_none());
    }
}
