//! What an earlier attempt left: its pieces are read and hashed again before they count.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use towline_proto::native::message::{Info, Version};
use towline_proto::piece::{Geometry, PieceHash, PieceHasher};
use towline_store::staged::{StageError, Staged};

use super::session::Session;
use super::{Failure, Options};
use crate::journal::{self, Journal};

/// Bytes read and hashed at once.
const CHUNK_BYTES: usize = 256 * 1_024;

/// Pieces that are said to be in the unfinished file.
#[derive(Debug)]
pub(super) struct Kept {
    /// The version that they are of, `None` where it surely is not the one that is wanted now.
    version: Option<Version>,
    pieces: BTreeMap<u32, PieceHash>,
}

impl Kept {
    /// What the journal beside the unfinished file says.
    pub(super) fn from_journal(staged: &Staged) -> Result<Self, StageError> {
        let mut bytes = Vec::new();
        staged
            .open_journal()?
            .read_to_end(&mut bytes)
            .map_err(|source| staged.write_failed(source))?;
        Ok(match journal::decode(&bytes) {
            Some(Journal { version, pieces, .. }) => Self { version: Some(version), pieces },
            None => Self { version: None, pieces: BTreeMap::new() },
        })
    }

    /// Pieces of a version that the source has no more.
    pub(super) fn of_another_version(pieces: BTreeMap<u32, PieceHash>) -> Self {
        Self { version: None, pieces }
    }

    /// The pieces that are worth reading again, with the hash that each must have: all where the version is the
    /// same; where it is another, those whose hash the server still has.
    pub(super) async fn candidates(
        &self,
        options: &Options,
        session: &mut Session,
        info: &Info,
    ) -> Result<BTreeMap<u32, PieceHash>, Failure> {
        let count = info.geometry.count();
        let mut candidates = self.pieces.clone();
        candidates.retain(|index, _| *index < count);
        if self.version.as_ref() != Some(&info.version) && !candidates.is_empty() {
            let now = session.hashes(&options.name, &info.version, count).await?;
            candidates.retain(|index, hash| now.get(*index as usize) == Some(hash));
        }
        Ok(candidates)
    }
}

/// Reads a piece of the unfinished file and hashes it; `None` where the file ends before it does. Blocks.
pub(super) fn hash_kept(
    file: &File,
    geometry: Geometry,
    index: u32,
) -> io::Result<Option<PieceHash>> {
    let (Some(piece), Some(mut hasher)) =
        (geometry.piece(index), PieceHasher::new(geometry, index))
    else {
        return Ok(None);
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    while hasher.left() > 0 {
        let wanted = usize::try_from(hasher.left()).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        match file.read_at(&mut chunk[..wanted], piece.end - hasher.left())? {
            0 => return Ok(None),
            read => hasher.update(&chunk[..read]),
        }
    }
    Ok(hasher.finish())
}
