//! What clients ask for.

use std::ops::Range;

use prost::Message;

use super::tree::{FetchTree, List};
use super::{MessageError, Proof, Version};
use crate::limits::{FETCH_RUNS_MAX, HASHES_MAX, PIECES_MAX};
use crate::name::RemoteName;
use crate::native::frame::{Kind, control};
use crate::native::wire;

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
    /// What is in this folder?
    List(List),
    /// Send these small files, in this order.
    FetchTree(FetchTree),
    /// I am somebody, and this proves it. Only inside encryption, and before anything else is asked.
    LogIn(Proof),
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
            Kind::List => List::decode(payload).map(Self::List),
            Kind::FetchTree => FetchTree::decode(payload).map(Self::FetchTree),
            Kind::LogIn => Proof::decode(payload).map(Self::LogIn),
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
            Self::List(list) => control(Kind::List, &list.encode()),
            Self::FetchTree(fetch) => control(Kind::FetchTree, &fetch.encode()),
            Self::LogIn(proof) => proof.encode(),
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
