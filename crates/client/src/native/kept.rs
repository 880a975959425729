//! What an earlier attempt left: its pieces are read and hashed again before they count.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use towline_proto::native::message::{Info, Version};
use towline_proto::piece::PieceHash;
use towline_store::staged::{StageError, Staged};

use super::session::Session;
use super::{Failure, Options};
use crate::journal::{self, Journal};

/// Pieces that are said to be in the unfinished file.
#[derive(Debug)]
pub(super) struct Kept {
    /// The version that they are of, `None` where it surely is not the one that is wanted now.
    version: Option<Version>,
    pieces: BTreeMap<u32, PieceHash>,
    /// Bytes of the journal that are whole.
    journal_bytes: u64,
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
            Some(Journal { version, pieces, whole_bytes, .. }) => {
                Self { version: Some(version), pieces, journal_bytes: whole_bytes as u64 }
            }
            None => Self::of_another_version(BTreeMap::new()),
        })
    }

    /// Pieces of a version that the source has no more, verified or only said to be there.
    pub(super) fn of_another_version(pieces: BTreeMap<u32, PieceHash>) -> Self {
        Self { version: None, pieces, journal_bytes: 0 }
    }

    /// The journal, to be appended to. It names the candidates, whose only trace it is until each was read again:
    /// it goes on where it is of the same version, and begins anew where it is not.
    pub(super) fn open_journal(
        &self,
        staged: &Staged,
        info: &Info,
        candidates: &BTreeMap<u32, PieceHash>,
    ) -> Result<File, StageError> {
        let mut journal = staged.open_journal()?;
        let mut beginning = Vec::new();
        let mut whole_bytes = self.journal_bytes;
        if self.version.as_ref() != Some(&info.version) {
            whole_bytes = 0;
            beginning = journal::encode_source(&info.version, info.geometry.file_bytes());
            for (index, hash) in candidates {
                beginning.extend(journal::encode_piece(*index, *hash));
            }
        }
        journal
            .set_len(whole_bytes)
            .and_then(|()| journal.seek(SeekFrom::Start(whole_bytes)))
            .and_then(|_| journal.write_all(&beginning))
            .map_err(|source| staged.write_failed(source))?;
        Ok(journal)
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
