//! What servers answer, content aside.

use prost::Message;

use super::tree::{Entries, SmallFile};
use super::{MessageError, Refusal, Version};
use crate::limits::HASHES_MAX;
use crate::native::frame::{Kind, control};
use crate::native::wire;
use crate::piece::{Geometry, PieceHash};

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
    /// To `List`: the next entries.
    Entries(Entries),
    /// To `FetchTree`: the next file, whose bytes follow at once, or why it is not sent.
    File(Result<SmallFile, Refusal>),
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
            Kind::Error => Ok(Self::Error(wire::Error::decode(payload)?.into())),
            Kind::Heartbeat => Ok(Self::Heartbeat),
            Kind::Entries => Entries::decode(payload).map(Self::Entries),
            Kind::File => SmallFile::decode(payload).map(Self::File),
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
            Self::Error(refusal) => {
                control(Kind::Error, &wire::Error::from(refusal).encode_to_vec())
            }
            Self::Heartbeat => control(Kind::Heartbeat, b""),
            Self::Entries(entries) => control(Kind::Entries, &entries.encode()),
            Self::File(file) => control(Kind::File, &SmallFile::encode(file.as_ref())),
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
