//! Frames: a header of length, kind and checksum, then a payload.

use crate::codec::{Incomplete, Reader};
use crate::limits::{CONTROL_BYTES_MAX, DATA_BYTES_MAX};

/// Bytes of a frame's header: u32 length of the payload, u8 kind, u32 CRC32C.
pub const HEADER_BYTES: usize = 9;

/// Bytes of the header that its CRC covers.
const COVERED_BYTES: usize = 5;

/// Where the numbers of what only servers send begin.
const ANSWERS_FROM: u8 = 0x40;

/// What a frame is. Numbers below 0x40 are requests, 0x40 is content, numbers from 0x80 are answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Asks what a name is.
    Stat,
    /// Asks for pieces of a file.
    Fetch,
    /// Asks for hashes of pieces.
    Hashes,
    /// Gives up all requests that wait for an answer.
    Cancel,
    /// Asks what is in a folder.
    List,
    /// Asks for small files, many at once.
    FetchTree,
    /// Proves who asks.
    LogIn,
    /// Bytes of a piece, in order.
    Data,
    /// Answers `Stat`.
    Info,
    /// Ends a piece with its hash.
    Piece,
    /// Stands for zero bytes of a piece.
    Hole,
    /// Answers `Hashes`.
    HashList,
    /// Ends the answer to a request that has several frames.
    Done,
    /// Ends the answer to a request that failed.
    Error,
    /// Says that the server is still at work.
    Heartbeat,
    /// Some of what is in a folder.
    Entries,
    /// Begins a small file, or says why it is not sent.
    File,
}

/// Every kind with its number on the wire. Reserved: 0x07 to 0x0B for Put, Commit, Remove, Rename and `MakeDir`.
const KINDS: [(u8, Kind); 17] = [
    (0x01, Kind::Stat),
    (0x02, Kind::Fetch),
    (0x03, Kind::Hashes),
    (0x04, Kind::Cancel),
    (0x05, Kind::List),
    (0x06, Kind::FetchTree),
    (0x0C, Kind::LogIn),
    (0x40, Kind::Data),
    (0x81, Kind::Info),
    (0x82, Kind::Piece),
    (0x83, Kind::Hole),
    (0x84, Kind::HashList),
    (0x85, Kind::Done),
    (0x86, Kind::Error),
    (0x87, Kind::Heartbeat),
    (0x88, Kind::Entries),
    (0x89, Kind::File),
];

/// A frame's header, checked against the caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Bytes of payload that follow; within the cap of the kind.
    pub length: usize,
    crc: u32,
    covered: [u8; COVERED_BYTES],
}

/// Why bytes are not a frame. The connection that they came over is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The checksum is wrong.
    #[error("a frame was damaged on the way")]
    Damaged,
    /// A number that no kind has.
    #[error("a frame of the unknown kind {0:#04x}")]
    Kind(u8),
    /// What only servers send.
    #[error("a {0:?} frame in a request's place")]
    NoRequest(Kind),
    /// The length is above the cap of the kind.
    #[error("a frame of {length} bytes, more than its kind may have")]
    TooLong {
        /// The length in the header.
        length: u32,
    },
    /// Content of no bytes.
    #[error("a frame of content without any")]
    Empty,
    /// Too few bytes.
    #[error("a frame is incomplete")]
    Incomplete,
}

impl From<Incomplete> for FrameError {
    fn from(_: Incomplete) -> Self {
        Self::Incomplete
    }
}

impl Kind {
    fn number(self) -> u8 {
        // Each kind is in the table; a test says so.
        KINDS.iter().find(|(_, kind)| *kind == self).map_or(0, |(number, _)| *number)
    }

    fn of(number: u8) -> Result<Self, FrameError> {
        let found = KINDS.iter().find(|(known, _)| *known == number);
        found.map(|(_, kind)| *kind).ok_or(FrameError::Kind(number))
    }

    /// Whether it is what clients send.
    fn is_request(self) -> bool {
        self.number() < ANSWERS_FROM
    }

    /// Longest payload of a frame of this kind, in bytes.
    pub fn bytes_max(self) -> usize {
        if self == Self::Data { DATA_BYTES_MAX } else { CONTROL_BYTES_MAX }
    }
}

impl Header {
    /// Reads a header. The CRC of a data frame covers the header alone and is checked here; that of a control
    /// frame in [`Header::check`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        let covered = reader.array()?;
        let crc = reader.u32()?;
        let mut reader = Reader::new(&covered);
        let length = reader.u32()?;
        let [number] = reader.array()?;
        let kind = Kind::of(number)?;
        let header = match usize::try_from(length) {
            Ok(length) if length <= kind.bytes_max() => Self { kind, length, crc, covered },
            _ => return Err(FrameError::TooLong { length }),
        };
        if kind == Kind::Data {
            header.check(b"")?;
            if length == 0 {
                return Err(FrameError::Empty);
            }
        }
        Ok(header)
    }

    /// Reads the header of what a client sends. What only servers send is refused before a byte of its payload.
    pub fn decode_request(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let header = Self::decode(bytes)?;
        if header.kind.is_request() { Ok(header) } else { Err(FrameError::NoRequest(header.kind)) }
    }

    /// Checks a control payload against the header's CRC.
    pub fn check(&self, payload: &[u8]) -> Result<(), FrameError> {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.covered), payload);
        if crc == self.crc { Ok(()) } else { Err(FrameError::Damaged) }
    }
}

/// The header of a data frame of `length` bytes, which follow from wherever they are.
pub fn data_header(length: usize) -> [u8; HEADER_BYTES] {
    header(Kind::Data, length, b"")
}

/// A whole control frame.
pub fn control(kind: Kind, payload: &[u8]) -> Vec<u8> {
    [&header(kind, payload.len(), payload), payload].concat()
}

fn header(kind: Kind, length: usize, covered_payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (covered, crc) = bytes.split_at_mut(COVERED_BYTES);
    let (length_field, kind_field) = covered.split_at_mut(COVERED_BYTES.saturating_sub(1));
    // Whoever makes frames keeps to the caps, which are far below; were it not so, the peer refuses them.
    length_field.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    kind_field.fill(kind.number());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(covered), covered_payload);
    crc.copy_from_slice(&checksum.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::{FrameError, HEADER_BYTES, Header, KINDS, Kind, control, data_header, header};
    use crate::limits::{CONTROL_BYTES_MAX, DATA_BYTES_MAX};

    fn header_of(frame: &[u8]) -> Result<Header, FrameError> {
        Header::decode(frame[..HEADER_BYTES].try_into().unwrap())
    }

    #[test]
    fn every_kind_has_its_own_number() {
        for (number, kind) in KINDS {
            assert_eq!(kind.number(), number);
            assert_eq!(Kind::of(number), Ok(kind));
        }
        assert_eq!(Kind::of(0), Err(FrameError::Kind(0)));
    }

    #[test]
    fn every_flipped_bit_of_a_control_frame_is_found() {
        let frame = control(Kind::Stat, b"payload");
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let seen = header_of(&flipped).and_then(|header| {
                let payload = flipped.get(HEADER_BYTES..HEADER_BYTES + header.length);
                header.check(payload.ok_or(FrameError::Incomplete)?)
            });
            assert!(seen.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_data_header_is_found() {
        let frame = data_header(1_000);
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(header_of(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_only_servers_send_is_no_request() {
        for (number, kind) in KINDS {
            let header = header(kind, 1, b"");
            let expected = if number < 0x40 { Ok(kind) } else { Err(FrameError::NoRequest(kind)) };
            assert_eq!(Header::decode_request(&header).map(|header| header.kind), expected);
        }
    }

    #[test]
    fn a_length_above_the_cap_is_refused_before_any_payload() {
        assert!(header_of(&data_header(DATA_BYTES_MAX)).is_ok());
        assert!(matches!(
            header_of(&data_header(DATA_BYTES_MAX + 1)),
            Err(FrameError::TooLong { .. })
        ));
        assert_eq!(header_of(&data_header(0)), Err(FrameError::Empty));
        let long = control(Kind::Stat, &vec![0; CONTROL_BYTES_MAX + 1]);
        assert!(matches!(header_of(&long), Err(FrameError::TooLong { .. })));
    }
}
