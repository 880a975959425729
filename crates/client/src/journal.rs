//! What is written down of a transfer under way, so that another process can go on: pure, bytes and values.
//!
//! A journal is a hint. Whoever resumes reads the pieces again and hashes them; a journal that is damaged,
//! torn, or of another make costs time and never correctness.

use std::collections::BTreeMap;

use towline_proto::codec::Reader;
use towline_proto::limits::{PIECES_MAX, VERSION_BYTES_MAX};
use towline_proto::native::message::Version;
use towline_proto::piece::PieceHash;

/// Tells a journal of this make.
const MAGIC: &[u8] = b"towline journal 1\n";

/// Kinds of records.
const SOURCE: u8 = 1;
const PIECE: u8 = 2;

/// Longest payload of a record in bytes.
const PAYLOAD_BYTES_MAX: usize = 8 + VERSION_BYTES_MAX;

/// What a journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The version that the pieces are of.
    pub version: Version,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// The hash of each piece that was verified.
    pub pieces: BTreeMap<u32, PieceHash>,
    /// How many bytes of the journal are whole. Whoever goes on with the same version cuts it there and
    /// appends: until each piece was read again, the journal is all that knows of it.
    pub whole_bytes: usize,
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

/// Reads a journal as far as it is whole; `None` where not even its beginning is.
pub fn decode(bytes: &[u8]) -> Option<Journal> {
    let mut reader = Reader::new(bytes.strip_prefix(MAGIC)?);
    let whole_bytes = |reader: &Reader<'_>| bytes.len() - reader.remaining();
    let (SOURCE, source) = next_record(&mut reader)? else { return None };
    let (file_bytes, version) = source.split_at_checked(8)?;
    let mut journal = Journal {
        version: Version::new(version).ok()?,
        file_bytes: u64::from_be_bytes(file_bytes.try_into().ok()?),
        pieces: BTreeMap::new(),
        whole_bytes: whole_bytes(&reader),
    };
    while let Some((PIECE, piece)) = next_record(&mut reader) {
        let Some((index, hash)) = piece.split_at_checked(4) else { break };
        let (Ok(index), Ok(hash)) = (index.try_into(), hash.try_into()) else { break };
        let index = u32::from_be_bytes(index);
        if index >= PIECES_MAX {
            break;
        }
        journal.pieces.insert(index, PieceHash(hash));
        journal.whole_bytes = whole_bytes(&reader);
    }
    Some(journal)
}

/// The next record, `None` at the end or at the first that is torn or damaged.
fn next_record<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let head: [u8; 2] = reader.array().ok()?;
    let [length, kind] = head;
    if usize::from(length) > PAYLOAD_BYTES_MAX {
        return None;
    }
    let payload = reader.take(usize::from(length)).ok()?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    (reader.u32().ok()? == crc).then_some((kind, payload))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "drawn numbers are cut to size")]
mod tests {
    use std::collections::BTreeMap;

    use towline_proto::native::message::Version;
    use towline_proto::piece::PieceHash;
    use towline_testkit::random::Random;

    use super::{Journal, PIECES_MAX, decode, encode_piece, encode_source, record};

    fn journal() -> (Journal, Vec<u8>) {
        let version = Version::new(b"a version").unwrap();
        let pieces = BTreeMap::from([(0, PieceHash([1; 32])), (7, PieceHash([2; 32]))]);
        let mut bytes = encode_source(&version, 8 << 20);
        for (index, hash) in &pieces {
            bytes.extend(encode_piece(*index, *hash));
        }
        (Journal { version, file_bytes: 8 << 20, pieces, whole_bytes: bytes.len() }, bytes)
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
                assert!(read.pieces.len() < whole.pieces.len(), "torn at {end}");
                assert_eq!(decode(&bytes[..read.whole_bytes]), Some(read.clone()));
                assert!(read.pieces.iter().all(|(index, hash)| whole.pieces[index] == *hash));
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
                assert!(read.pieces.iter().all(|(index, hash)| whole.pieces[index] == *hash));
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
            assert!(read.pieces.keys().all(|index| *index < PIECES_MAX));
            assert!(read.whole_bytes <= bytes.len());
            let mut again = encode_source(&read.version, read.file_bytes);
            for (index, hash) in &read.pieces {
                again.extend(encode_piece(*index, *hash));
            }
            assert_eq!(decode(&again), Some(Journal { whole_bytes: again.len(), ..read }));
        }
    }

    #[test]
    fn another_make_is_not_read() {
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"towline journal 2\n"), None);
        assert_eq!(decode(&encode_piece(0, PieceHash([0; 32]))), None);
    }
}
