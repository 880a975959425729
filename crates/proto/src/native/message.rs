//! Requests and answers, parsed from control frames into values that are within their caps.

use std::ops::Range;

use prost::Message;

use super::frame::{Kind, control};
use super::wire;
use crate::limits::{FETCH_RUNS_MAX, HASHES_MAX, PIECES_MAX, VERSION_BYTES_MAX};
use crate::name::{NameError, RemoteName};
use crate::piece::{Geometry, PieceHash, SizeError};

/// What tells one content of a file from another: opaque to everyone but the server that gave it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Box<[u8]>);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What is this name?
    Stat {
        /// The name.
        name: RemoteName,
    },
    /// Send these pieces of this version, in this order.
    Fetch {
        /// The file.
        name: RemoteName,
        /// The version that is wanted.
        version: Version,
        /// Runs of pieces, none of them empty.
        runs: Vec<Range<u32>>,
    },
    /// Send the hashes of these pieces of this version.
    Hashes {
        /// The file.
        name: RemoteName,
        /// The version that is wanted.
        version: Version,
        /// At most [`HASHES_MAX`] pieces, at least one.
        pieces: Range<u32>,
    },
    /// Drop all requests that wait.
    Cancel,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Names the content in later requests.
    pub version: Version,
    /// The size, and how it is cut.
    pub geometry: Geometry,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// BLAKE3 of the content, where the server knows all the pieces' hashes.
    pub root: Option<blake3::Hash>,
    /// Bytes that are stored and are no holes, about.
    pub stored_bytes: u64,
}

/// What a server answers, content aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Stat`.
    Info(Info),
    /// Ends a piece.
    Piece {
        /// Which one.
        index: u32,
        /// Its hash.
        hash: PieceHash,
    },
    /// This many zero bytes of the piece.
    Hole {
        /// At least one.
        bytes: u64,
    },
    /// To `Hashes`.
    HashList {
        /// The piece of the first hash.
        first: u32,
        /// The hashes from there on.
        hashes: Vec<PieceHash>,
    },
    /// The request is answered.
    Done,
    /// The request failed.
    Error(Refusal),
    /// Still at work.
    Heartbeat,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people; not to be trusted, escape it before printing.
    pub text: String,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Nothing that is served has that name.
    NotFound,
    /// Not allowed.
    Denied,
    /// The file is not the version that was asked for any more.
    Changed,
    /// The request makes no sense.
    BadRequest,
    /// The peer's version or a capability it demands is not spoken here.
    Unsupported,
    /// Too much is going on.
    Busy,
    /// Reading failed.
    Io,
    /// `Cancel` dropped all requests before it.
    Cancelled,
    /// A number that is not known here.
    Other(u32),
}

const ERROR_CODES: [(u32, ErrorCode); 8] = [
    (1, ErrorCode::NotFound),
    (2, ErrorCode::Denied),
    (3, ErrorCode::Changed),
    (4, ErrorCode::BadRequest),
    (5, ErrorCode::Unsupported),
    (6, ErrorCode::Busy),
    (7, ErrorCode::Io),
    (8, ErrorCode::Cancelled),
];

/// Why a control frame is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not the protobuf message that its kind says.
    #[error("a message is malformed: {0}")]
    Malformed(String),
    /// The kind has no place here.
    #[error("a {0:?} frame has no place here")]
    OutOfPlace(Kind),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The version is longer than [`VERSION_BYTES_MAX`].
    #[error("a version of {0} bytes, more than {VERSION_BYTES_MAX}")]
    Version(usize),
    /// No runs, too many of them, or one that is empty or ends beyond [`PIECES_MAX`].
    #[error("the runs of pieces make no sense")]
    Runs,
    /// A hash is not 32 bytes, or there are none or too many.
    #[error("the hashes are not 32 bytes each, or are none, or too many")]
    Hashes,
    /// A hole of no bytes.
    #[error("an empty hole")]
    EmptyHole,
    /// A size that no file has.
    #[error(transparent)]
    Size(#[from] SizeError),
}

impl From<prost::DecodeError> for MessageError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Version {
    /// Takes a server's bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > VERSION_BYTES_MAX {
            return Err(MessageError::Version(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes, for comparing and for the journal.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Request {
    /// Reads the payload of a control frame.
    pub fn decode(kind: Kind, payload: &[u8]) -> Result<Self, MessageError> {
        match kind {
            Kind::Stat => {
                let wire::Stat { name } = Message::decode(payload)?;
                Ok(Self::Stat { name: RemoteName::parse(&name)? })
            }
            Kind::Fetch => {
                let (name, version, runs) = pieces(payload)?;
                Ok(Self::Fetch { name, version, runs })
            }
            Kind::Hashes => {
                let (name, version, runs) = pieces(payload)?;
                match runs.as_slice() {
                    [pieces] if pieces.len() <= HASHES_MAX as usize => {
                        Ok(Self::Hashes { name, version, pieces: pieces.clone() })
                    }
                    _ => Err(MessageError::Runs),
                }
            }
            Kind::Cancel => Ok(Self::Cancel),
            _ => Err(MessageError::OutOfPlace(kind)),
        }
    }

    /// The frame that goes out.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stat { name } => {
                let name = name.as_bytes().to_vec();
                control(Kind::Stat, &wire::Stat { name }.encode_to_vec())
            }
            Self::Fetch { name, version, runs } => {
                control(Kind::Fetch, &encode_pieces(name, version, runs))
            }
            Self::Hashes { name, version, pieces } => {
                let runs = std::slice::from_ref(pieces);
                control(Kind::Hashes, &encode_pieces(name, version, runs))
            }
            Self::Cancel => control(Kind::Cancel, b""),
        }
    }
}

fn pieces(payload: &[u8]) -> Result<(RemoteName, Version, Vec<Range<u32>>), MessageError> {
    let wire::Pieces { name, version, runs } = Message::decode(payload)?;
    if runs.is_empty() || runs.len() > FETCH_RUNS_MAX {
        return Err(MessageError::Runs);
    }
    let range = |run: &wire::Run| {
        let end = run.first.checked_add(run.count)?;
        (run.count > 0 && end <= PIECES_MAX).then_some(run.first..end)
    };
    let runs = runs.iter().map(range).collect::<Option<_>>().ok_or(MessageError::Runs)?;
    Ok((RemoteName::parse(&name)?, Version::new(&version)?, runs))
}

fn encode_pieces(name: &RemoteName, version: &Version, runs: &[Range<u32>]) -> Vec<u8> {
    let run =
        |run: &Range<u32>| wire::Run { first: run.start, count: run.end.saturating_sub(run.start) };
    wire::Pieces {
        name: name.as_bytes().to_vec(),
        version: version.as_bytes().to_vec(),
        runs: runs.iter().map(run).collect(),
    }
    .encode_to_vec()
}

impl Answer {
    /// Reads the payload of a control frame.
    pub fn decode(kind: Kind, payload: &[u8]) -> Result<Self, MessageError> {
        match kind {
            Kind::Info => info(payload).map(Self::Info),
            Kind::Piece => {
                let wire::Piece { index, hash } = Message::decode(payload)?;
                let hash = hash.try_into().map_err(|_| MessageError::Hashes)?;
                Ok(Self::Piece { index, hash: PieceHash(hash) })
            }
            Kind::Hole => match Message::decode(payload)? {
                wire::Hole { bytes: 0 } => Err(MessageError::EmptyHole),
                wire::Hole { bytes } => Ok(Self::Hole { bytes }),
            },
            Kind::HashList => {
                let wire::HashList { first, hashes } = Message::decode(payload)?;
                let (hashes, rest) = hashes.as_chunks::<32>();
                if !rest.is_empty() || hashes.is_empty() || hashes.len() > HASHES_MAX as usize {
                    return Err(MessageError::Hashes);
                }
                let hashes = hashes.iter().map(|hash| PieceHash(*hash)).collect();
                Ok(Self::HashList { first, hashes })
            }
            Kind::Done => Ok(Self::Done),
            Kind::Error => {
                let wire::Error { code, text, retry } = Message::decode(payload)?;
                Ok(Self::Error(Refusal { code: ErrorCode::of(code), text, retry }))
            }
            Kind::Heartbeat => Ok(Self::Heartbeat),
            _ => Err(MessageError::OutOfPlace(kind)),
        }
    }

    /// The frame that goes out.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Info(info) => {
                let message = wire::Info {
                    version: info.version.as_bytes().to_vec(),
                    size: info.geometry.file_bytes(),
                    modified_ns: info.modified_ns,
                    mode: info.mode,
                    root: info.root.map(|root| root.as_bytes().to_vec()),
                    stored_bytes: info.stored_bytes,
                };
                control(Kind::Info, &message.encode_to_vec())
            }
            Self::Piece { index, hash } => {
                let message = wire::Piece { index: *index, hash: hash.0.to_vec() };
                control(Kind::Piece, &message.encode_to_vec())
            }
            Self::Hole { bytes } => {
                control(Kind::Hole, &wire::Hole { bytes: *bytes }.encode_to_vec())
            }
            Self::HashList { first, hashes } => {
                let hashes = hashes.iter().flat_map(|hash| hash.0).collect();
                control(Kind::HashList, &wire::HashList { first: *first, hashes }.encode_to_vec())
            }
            Self::Done => control(Kind::Done, b""),
            Self::Error(Refusal { code, text, retry }) => {
                let message =
                    wire::Error { code: code.number(), text: text.clone(), retry: *retry };
                control(Kind::Error, &message.encode_to_vec())
            }
            Self::Heartbeat => control(Kind::Heartbeat, b""),
        }
    }
}

fn info(payload: &[u8]) -> Result<Info, MessageError> {
    let wire::Info { version, size, modified_ns, mode, root, stored_bytes } =
        Message::decode(payload)?;
    let root = root.map(|root| root.as_slice().try_into().map(blake3::Hash::from_bytes));
    Ok(Info {
        version: Version::new(&version)?,
        geometry: Geometry::of(size)?,
        modified_ns,
        mode,
        root: root.transpose().map_err(|_| MessageError::Hashes)?,
        stored_bytes,
    })
}

impl ErrorCode {
    fn of(number: u32) -> Self {
        let known = ERROR_CODES.iter().find(|(known, _)| *known == number);
        known.map_or(Self::Other(number), |(_, code)| *code)
    }

    fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            // Each is in the table; a test says so.
            known => ERROR_CODES.iter().find(|(_, code)| *code == known).map_or(0, |(n, _)| *n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Answer, ERROR_CODES, ErrorCode, Info, MessageError, Refusal, Request, Version, wire,
    };
    use crate::limits::{FETCH_RUNS_MAX, HASHES_MAX, PIECES_MAX};
    use crate::name::RemoteName;
    use crate::native::frame::{HEADER_BYTES, Header, Kind};
    use crate::piece::{Geometry, PieceHash};
    use prost::Message;

    fn name() -> RemoteName {
        RemoteName::parse(b"dir/\xff.bin").unwrap()
    }

    fn version() -> Version {
        Version::new(&[7; 40]).unwrap()
    }

    fn split(frame: &[u8]) -> (Kind, &[u8]) {
        let header = Header::decode(frame[..HEADER_BYTES].try_into().unwrap()).unwrap();
        let payload = &frame[HEADER_BYTES..];
        header.check(payload).unwrap();
        (header.kind, payload)
    }

    #[test]
    fn requests_survive_the_wire() {
        for request in [
            Request::Stat { name: name() },
            Request::Fetch { name: name(), version: version(), runs: vec![0..1, 5..PIECES_MAX] },
            Request::Hashes { name: name(), version: version(), pieces: 9..9 + HASHES_MAX },
            Request::Cancel,
        ] {
            let frame = request.encode();
            let (kind, payload) = split(&frame);
            assert_eq!(Request::decode(kind, payload), Ok(request));
        }
    }

    #[test]
    fn answers_survive_the_wire() {
        let info = Info {
            version: version(),
            geometry: Geometry::of(3 << 20).unwrap(),
            modified_ns: -5,
            mode: 0o644,
            root: Some(blake3::hash(b"x")),
            stored_bytes: 5,
        };
        for answer in [
            Answer::Info(Info { root: None, ..info.clone() }),
            Answer::Info(info),
            Answer::Piece { index: 0, hash: PieceHash([3; 32]) },
            Answer::Hole { bytes: u64::MAX },
            Answer::HashList { first: 2, hashes: vec![PieceHash([4; 32]); HASHES_MAX as usize] },
            Answer::Done,
            Answer::Error(Refusal { code: ErrorCode::Changed, text: "x".into(), retry: true }),
            Answer::Heartbeat,
        ] {
            let frame = answer.encode();
            let (kind, payload) = split(&frame);
            assert_eq!(Answer::decode(kind, payload), Ok(answer));
        }
    }

    #[test]
    fn runs_that_make_no_sense_are_refused() {
        let decode = |kind, runs: Vec<(u32, u32)>| {
            let runs = runs.into_iter().map(|(first, count)| wire::Run { first, count }).collect();
            let message = wire::Pieces { name: b"n".to_vec(), version: vec![], runs };
            Request::decode(kind, &message.encode_to_vec()).err()
        };
        for runs in [
            vec![],
            vec![(0, 0)],
            vec![(0, PIECES_MAX + 1)],
            vec![(u32::MAX, 1)],
            vec![(u32::MAX, u32::MAX)],
            vec![(0, 1); FETCH_RUNS_MAX + 1],
        ] {
            assert_eq!(decode(Kind::Fetch, runs.clone()), Some(MessageError::Runs), "{runs:?}");
            assert_eq!(decode(Kind::Hashes, runs), Some(MessageError::Runs));
        }
        assert_eq!(decode(Kind::Fetch, vec![(0, 1); FETCH_RUNS_MAX]), None);
        assert_eq!(decode(Kind::Hashes, vec![(0, HASHES_MAX + 1)]), Some(MessageError::Runs));
    }

    #[test]
    fn unknown_fields_and_codes_are_let_through() {
        let mut payload = wire::Stat { name: b"n".to_vec() }.encode_to_vec();
        payload.extend_from_slice(&[0x78, 0x01]); // field 15, varint 1
        assert!(Request::decode(Kind::Stat, &payload).is_ok());
        let payload = wire::Error { code: 99, text: String::new(), retry: false }.encode_to_vec();
        let answer = Answer::decode(Kind::Error, &payload).unwrap();
        assert!(matches!(answer, Answer::Error(Refusal { code: ErrorCode::Other(99), .. })));
        for (number, code) in ERROR_CODES {
            assert_eq!((ErrorCode::of(number), code.number()), (code, number));
        }
    }

    #[test]
    fn values_beyond_their_caps_are_refused() {
        assert!(Version::new(&[0; 65]).is_err());
        let bad_name = wire::Stat { name: b"../x".to_vec() }.encode_to_vec();
        assert!(matches!(Request::decode(Kind::Stat, &bad_name), Err(MessageError::Name(_))));
        let huge = wire::Info { size: u64::MAX, ..wire::Info::default() }.encode_to_vec();
        assert!(matches!(Answer::decode(Kind::Info, &huge), Err(MessageError::Size(_))));
        let short = wire::Piece { index: 0, hash: vec![0; 31] }.encode_to_vec();
        assert_eq!(Answer::decode(Kind::Piece, &short), Err(MessageError::Hashes));
        for hashes in [0, 31, 33, 32 * (HASHES_MAX as usize + 1)] {
            let list = wire::HashList { first: 0, hashes: vec![0; hashes] }.encode_to_vec();
            assert_eq!(Answer::decode(Kind::HashList, &list), Err(MessageError::Hashes));
        }
        assert_eq!(Answer::decode(Kind::Hole, b""), Err(MessageError::EmptyHole));
        assert_eq!(Request::decode(Kind::Done, b""), Err(MessageError::OutOfPlace(Kind::Done)));
        assert_eq!(Answer::decode(Kind::Data, b""), Err(MessageError::OutOfPlace(Kind::Data)));
    }
}
