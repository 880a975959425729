//! What of a tree was verified and written, for whoever goes on with it: a hint, each file is read and hashed again.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::{Mutex, PoisonError};

use towline_proto::codec::Reader;
use towline_proto::name::RemoteName;

/// Bytes of a record: of the path's hash, of the content's hash, and a checksum of both.
const KEY_BYTES: usize = 8;
const HASH_BYTES: usize = 16;
const RECORD_BYTES: usize = KEY_BYTES + HASH_BYTES + 4;

/// Takes notes of a tree that is being received.
#[derive(Debug)]
pub struct Journal {
    /// None once it is closed.
    file: Mutex<Option<File>>,
}

/// What an earlier attempt noted. Halves of hashes are kept: enough to find by, and to tell contents apart.
#[derive(Debug, Default)]
pub struct Noted {
    /// In the order of keys.
    records: Vec<([u8; KEY_BYTES], [u8; HASH_BYTES])>,
}

impl Journal {
    /// Goes on with a journal, which is open for reading and appending, and gives what it says already. Records that
    /// are damaged or torn are left out.
    pub(super) fn open(file: File) -> io::Result<(Self, Noted)> {
        let mut records = Vec::new();
        let mut reader = BufReader::new(&file);
        let mut record = [0; RECORD_BYTES];
        while read_whole(&mut reader, &mut record)? {
            records.extend(decode(&record));
        }
        // The last one of a path counts.
        records.reverse();
        records.sort_by_key(|(key, _)| *key);
        records.dedup_by_key(|(key, _)| *key);
        // A torn record at the end would shift all that follow it.
        let torn = file.metadata()?.len() % RECORD_BYTES as u64;
        if torn > 0 {
            file.set_len(file.metadata()?.len() - torn)?;
        }
        Ok((Self { file: Mutex::new(Some(file)) }, Noted { records }))
    }

    /// Notes that files with these contents are written.
    pub fn note<'a>(
        &self,
        files: impl Iterator<Item = (&'a RemoteName, blake3::Hash)>,
    ) -> io::Result<()> {
        self.append(&files.flat_map(|(path, hash)| encode(path, hash)).collect::<Vec<u8>>())
    }

    /// Notes a folder that is about to be made, and to get its time and permissions when all is in it.
    pub fn note_folder(&self, path: &RemoteName) -> io::Result<()> {
        self.append(&encode(path, of_folder()))
    }

    fn append(&self, records: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_mut().map_or(Ok(()), |file| file.write_all(records))
    }

    /// Closes the file: nothing that is noted from now on counts.
    pub(super) fn close(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Noted {
    /// Whether anything was noted.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a file with this very content was noted under this path.
    pub fn has(&self, path: &RemoteName, hash: blake3::Hash) -> bool {
        let found = self.records.binary_search_by_key(&key(path), |(key, _)| *key);
        let record = found.ok().and_then(|index| self.records.get(index));
        record.is_some_and(|(_, noted)| hash.as_bytes().starts_with(noted))
    }

    /// Whether the folder at this path was made, or was about to be.
    pub fn has_folder(&self, path: &RemoteName) -> bool {
        self.has(path, of_folder())
    }

    /// Whether a file was noted under this path.
    pub fn knows(&self, path: &RemoteName) -> bool {
        self.records.binary_search_by_key(&key(path), |(key, _)| *key).is_ok()
    }
}

/// What stands in the place of a content's hash for a folder: the hash of nothing that a file could hold.
fn of_folder() -> blake3::Hash {
    blake3::Hasher::new_derive_key("towline tree journal: a folder").finalize()
}

fn key(path: &RemoteName) -> [u8; KEY_BYTES] {
    let hash = blake3::hash(path.as_bytes());
    *hash.as_bytes().first_chunk().expect("a hash is longer than a part of it")
}

fn encode(path: &RemoteName, hash: blake3::Hash) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let (covered, crc) = record.split_at_mut(KEY_BYTES + HASH_BYTES);
    covered[..KEY_BYTES].copy_from_slice(&key(path));
    covered[KEY_BYTES..].copy_from_slice(&hash.as_bytes()[..HASH_BYTES]);
    crc.copy_from_slice(&crc32c::crc32c(covered).to_be_bytes());
    record
}

fn decode(record: &[u8; RECORD_BYTES]) -> Option<([u8; KEY_BYTES], [u8; HASH_BYTES])> {
    let mut reader = Reader::new(record);
    let (key, hash) = (reader.array().ok()?, reader.array().ok()?);
    let crc = reader.u32().ok()?;
    (crc == crc32c::crc32c(&record[..KEY_BYTES + HASH_BYTES])).then_some((key, hash))
}

/// Fills `record`; `false` where too little is left.
fn read_whole(reader: &mut impl Read, record: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(record) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    use towline_proto::name::RemoteName;

    use super::{Journal, Noted};

    fn open(path: &Path) -> (Journal, Noted) {
        let file = File::options().read(true).append(true).create(true).open(path).unwrap();
        Journal::open(file).unwrap()
    }

    fn name(text: &str) -> RemoteName {
        RemoteName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_noted_last_counts_and_torn_or_damaged_records_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (one, two) = (blake3::hash(b"1"), blake3::hash(b"2"));
        let (journal, noted) = open(&path);
        assert!(noted.is_empty());
        let (a, b, c) = (name("a"), name("b"), name("c"));
        journal.note([(&a, one), (&b, one), (&a, two), (&c, one)].into_iter()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let torn = bytes.len() - 5;
        bytes[30] ^= 1;
        std::fs::write(&path, &bytes[..torn]).unwrap();
        let (journal, noted) = open(&path);
        assert!(noted.has(&a, two) && !noted.has(&a, one));
        assert!(!noted.knows(&b) && !noted.knows(&c));
        journal.note([(&c, two)].into_iter()).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        assert!(open(&path).1.has(&c, two));
    }
}
