//! What is written down of a transfer under way, so that another process can go on: pure, bytes and values.
//!
//! A journal is a hint. Whoever resumes reads the pieces again and hashes them; a journal that is damaged,
//! torn, or of another make costs time and never correctness.

use std::io::{self, Read};

use towline_proto::limits::{PIECES_MAX, VERSION_BYTES_MAX};
use towline_proto::native::message::Version;
use towline_proto::piece::PieceHash;

use crate::known_hashes::KnownHashes;

/// Tells a journal of this make.
const MAGIC: &[u8] = b"towline journal 1\n";

/// Kinds of records.
const SOURCE: u8 = 1;
const PIECE: u8 = 2;

/// Longest payload of a record in bytes.
const PAYLOAD_BYTES_MAX: usize = 8 + VERSION_BYTES_MAX;

/// Bytes of a record besides its payload: length, kind, CRC.
const RECORD_BYTES_MIN: usize = 1 + 1 + 4;

/// What a journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The version that the pieces are of.
    pub version: Version,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// The hash of each piece that was verified.
    pub pieces: KnownHashes,
    /// How many bytes of the journal are whole. Whoever goes on with the same version cuts it there and
    /// appends: until each piece was read again, the journal is all that knows of it.
    pub whole_bytes: u64,
}

/// The beginning of a journal, which names what is transferred.
pub fn encode_source(version: &Version, file_bytes: u64) -> Vec<u8> {
    let payload = [&file_bytes.to_be_bytes(), version.as_bytes()].concat();
    [MAGIC, &record(SOURCE, &payload)].concat()
}

/// The record of a verified piece, to be appended.
pub fn encode_piece(index: u32, hash: PieceHash) -> Vec<u8> {
    record(PIECE, &[&index.to_be_bytes()[..], &hash.0].concat())
}

/// Length, kind, payload, CRC32C of all three.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("payloads are far shorter than 256 bytes");
    let mut record = [&[length, kind], payload].concat();
    record.extend(crc32c::crc32c(&record).to_be_bytes());
    record
}

/// Reads a journal as far as it is whole; `None` where not even its beginning is. Fails where reading does.
pub fn decode(mut bytes: impl Read) -> io::Result<Option<Journal>> {
    let mut magic = [0; MAGIC.len()];
    if !fill(&mut bytes, &mut magic)? || magic != MAGIC {
        return Ok(None);
    }
    let mut payload = [0; PAYLOAD_BYTES_MAX];
    let Some((SOURCE, length)) = next_record(&mut bytes, &mut payload)? else { return Ok(None) };
    let Some((file_bytes, version)) = payload[..length].split_first_chunk() else {
        return Ok(None);
    };
    let Ok(version) = Version::new(version) else { return Ok(None) };
    let mut journal = Journal {
        version,
        file_bytes: u64::from_be_bytes(*file_bytes),
        pieces: KnownHashes::default(),
        whole_bytes: (MAGIC.len() + RECORD_BYTES_MIN + length) as u64,
    };
    while let Some((PIECE, length)) = next_record(&mut bytes, &mut payload)? {
        let Some((index, hash)) = payload[..length].split_first_chunk() else { break };
        let (index, Ok(hash)) = (u32::from_be_bytes(*index), hash.try_into()) else { break };
        if index >= PIECES_MAX {
            break;
        }
        journal.pieces.insert(index, PieceHash(hash));
        journal.whole_bytes += (RECORD_BYTES_MIN + length) as u64;
    }
    Ok(Some(journal))
}

/// Reads the next record's payload, and tells its kind and length; `None` at the end or at the first record that is
/// torn or damaged.
fn next_record(
    bytes: &mut impl Read,
    payload: &mut [u8; PAYLOAD_BYTES_MAX],
) -> io::Result<Option<(u8, usize)>> {
    let mut head = [0; 2];
    if !fill(bytes, &mut head)? {
        return Ok(None);
    }
    let [length, kind] = head;
    let length = usize::from(length);
    let Some(payload) = payload.get_mut(..length) else { return Ok(None) };
    let mut declared = [0; 4];
    if !fill(bytes, payload)? || !fill(bytes, &mut declared)? {
        return Ok(None);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    Ok((u32::from_be_bytes(declared) == crc).then_some((kind, length)))
}

/// Fills `buffer`; tells whether there were so many bytes.
fn fill(bytes: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match bytes.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "drawn numbers are cut to size")]
mod tests {
    use towline_proto::native::message::Version;
    use towline_proto::piece::PieceHash;
    use towline_testkit::random::Random;

    use super::{Journal, PIECES_MAX, encode_piece, encode_source, record};
    use crate::known_hashes::KnownHashes;

    fn decode(bytes: &[u8]) -> Option<Journal> {
        super::decode(bytes).unwrap()
    }

    fn journal() -> (Journal, Vec<u8>) {
        let version = Version::new(b"a version").unwrap();
        let pieces: KnownHashes =
            [(0, PieceHash([1; 32])), (7, PieceHash([2; 32]))].into_iter().collect();
        let mut bytes = encode_source(&version, 8 << 20);
        for (index, hash) in pieces.iter() {
            bytes.extend(encode_piece(index, hash));
        }
        let whole_bytes = bytes.len() as u64;
        (Journal { version, file_bytes: 8 << 20, pieces, whole_bytes }, bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let (journal, bytes) = journal();
        assert_eq!(decode(&bytes), Some(journal));
    }

    #[test]
    fn a_torn_tail_is_ignored_at_every_byte() {
        let (whole, bytes) = journal();
        for end in 0..bytes.len() {
            if let Some(read) = decode(&bytes[..end]) {
                assert!(read.pieces.count() < whole.pieces.count(), "torn at {end}");
                assert_eq!(decode(&bytes[..read.whole_bytes as usize]), Some(read.clone()));
                assert!(
                    read.pieces.iter().all(|(index, hash)| whole.pieces.get(index) == Some(hash))
                );
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_changes_what_is_believed() {
        let (whole, bytes) = journal();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Some(read) = decode(&flipped) {
                assert_eq!((&read.version, read.file_bytes), (&whole.version, whole.file_bytes));
                assert!(
                    read.pieces.iter().all(|(index, hash)| whole.pieces.get(index) == Some(hash))
                );
            }
        }
    }

    #[test]
    fn whatever_is_read_is_within_the_caps_and_reads_the_same_when_written_again() {
        let (_, valid) = journal();
        let mut random = Random::from_seed(1);
        for _ in 0..20_000 {
            // Records with the right checksum and drawn contents, then damage in half of the journals.
            let mut bytes = valid.clone();
            for _ in 0..random.below(4) {
                let mut payload = vec![0; random.below(60) as usize];
                random.fill(&mut payload);
                let kind = random.below(4) as u8;
                bytes.extend(record(kind, &payload));
                bytes.extend(encode_piece(random.next_u64() as u32, PieceHash([3; 32])));
            }
            if random.below(2) == 0 {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            let Some(read) = decode(&bytes) else { continue };
            assert!(read.pieces.iter().all(|(index, _)| index < PIECES_MAX));
            assert!(read.whole_bytes <= bytes.len() as u64);
            let mut again = encode_source(&read.version, read.file_bytes);
            for (index, hash) in read.pieces.iter() {
                again.extend(encode_piece(index, hash));
            }
            let whole_bytes = again.len() as u64;
            assert_eq!(decode(&again), Some(Journal { whole_bytes, ..read }));
        }
    }

    #[test]
    fn another_make_is_not_read() {
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"towline journal 2\n"), None);
        assert_eq!(decode(&encode_piece(0, PieceHash([0; 32]))), None);
    }
}
