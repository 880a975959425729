//! What an earlier attempt left: its pieces are read and hashed again before they count.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};

use towline_proto::native::message::{Info, Version};
use towline_store::staged::{StageError, Staged};

use super::session::Session;
use super::{Failure, Options};
use crate::journal::{self, Journal};
use crate::known_hashes::KnownHashes;

/// Pieces that are said to be in the unfinished file.
#[derive(Debug)]
pub(super) struct KeptPieces {
    /// The version that they are of, `None` where it surely is not the one that is wanted now.
    version: Option<Version>,
    pieces: KnownHashes,
    /// Bytes of the journal that are whole.
    journal_bytes: u64,
}

impl KeptPieces {
    /// What the journal beside the unfinished file says. Blocks, for as long as it takes to read.
    pub(super) fn from_journal(staged: &Staged) -> Result<Self, StageError> {
        let journal = journal::decode(BufReader::new(staged.open_journal()?));
        let journal = journal.map_err(|source| staged.read_failed(source))?;
        Ok(match journal {
            Some(Journal { version, pieces, whole_bytes, .. }) => {
                Self { version: Some(version), pieces, journal_bytes: whole_bytes }
            }
            None => Self::of_another_version(KnownHashes::default()),
        })
    }

    /// Pieces of a version that the source has no more, verified or only said to be there.
    pub(super) fn of_another_version(pieces: KnownHashes) -> Self {
        Self { version: None, pieces, journal_bytes: 0 }
    }

    /// Leaves the pieces that are worth reading again, each with the hash that it must have: all where the version is
    /// the same; where it is another, those whose hash the server still has.
    pub(super) async fn sort_out(
        &mut self,
        options: &Options,
        session: &mut Session,
        info: &Info,
    ) -> Result<(), Failure> {
        let count = info.geometry.count();
        self.pieces.set_len(count as usize);
        if self.version.as_ref() != Some(&info.version) && !self.pieces.is_empty() {
            // Of no more than is here: the server may have to hash it first, and meanwhile it may change again.
            let count = self.pieces.iter().last().map_or(0, |(last, _)| last + 1);
            let pieces = &mut self.pieces;
            let keep_equal = |index, hash| {
                if pieces.get(index) != Some(hash) {
                    pieces.remove(index);
                }
            };
            session.hashes(&options.name, &info.version, count, keep_equal).await?;
        }
        Ok(())
    }

    /// Returns the journal, open for appending, and the pieces it names. Until each is read again, the journal is the
    /// only record of them. A journal of the same version is continued; any other begins anew.
    pub(super) fn into_journal(
        self,
        staged: &Staged,
        info: &Info,
    ) -> Result<(File, KnownHashes), StageError> {
        let mut journal = staged.open_journal()?;
        let prepared = if self.version.as_ref() == Some(&info.version) {
            cut(&mut journal, self.journal_bytes)
        } else {
            begin_anew(&mut journal, info, &self.pieces)
        };
        prepared.map_err(|source| staged.write_failed(source))?;
        Ok((journal, self.pieces))
    }
}

/// Goes on behind what is whole.
fn cut(journal: &mut File, whole_bytes: u64) -> io::Result<()> {
    journal.set_len(whole_bytes)?;
    journal.seek(SeekFrom::Start(whole_bytes)).map(drop)
}

/// Names the version and the pieces that may be of it.
fn begin_anew(journal: &mut File, info: &Info, pieces: &KnownHashes) -> io::Result<()> {
    cut(journal, 0)?;
    let mut journal = BufWriter::new(journal);
    journal.write_all(&journal::encode_source(&info.version, info.geometry.file_bytes()))?;
    for (index, hash) in pieces.iter() {
        journal.write_all(&journal::encode_piece(index, hash))?;
    }
    journal.flush()
}
