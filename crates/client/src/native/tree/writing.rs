//! Verifying and writing files that came together: runs where waiting for the disk is allowed.

use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::SmallFile;
use towline_store::staged::StageError;
use towline_store::tree::{Attributes, FolderChain, Mode, PutError, StagedTree, TreeWriter};

use super::inbox::Arrived;
use super::tally::TreeTally;
use super::wanted::Wanted;
use crate::native::Keep;

/// Why a file that differs does not come.
pub(super) const OTHER_CONTENT: &str = "what is here has another content; -f replaces it";

/// What became of files that came together.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Files that are written.
    pub(super) arrived_files: u64,
    /// Files whose bytes are not what their hash says.
    pub(super) damaged: Vec<Wanted>,
    /// Files that cannot be written, and why.
    pub(super) failed: Vec<(RemoteName, String)>,
}

/// Verifies files and writes those that are sound; an error concerns all that is to come, too.
pub(super) fn store(
    tree: &StagedTree,
    writer: &mut TreeWriter,
    keep: Keep,
    arrived: &mut Arrived,
) -> Result<Outcome, StageError> {
    let mut outcome = Outcome::default();
    let mut written = Vec::with_capacity(arrived.files.len());
    let mut bytes = 0;
    for (wanted, file, range) in arrived.files.drain(..) {
        let content = &arrived.buffer[range];
        if blake3::hash(content) != file.hash {
            outcome.damaged.push(wanted);
            continue;
        }
        match writer.write_file(
            &wanted.path,
            content,
            attributes(keep, file.modified_ns, file.mode),
        ) {
            Ok(()) => {
                bytes += content.len() as u64;
                written.push((wanted, file.hash));
            }
            Err(error) => {
                check_disk(tree, error)?;
                outcome.failed.push((wanted.path, error.to_string()));
            }
        }
    }
    tree.journal()
        .note(written.iter().map(|(wanted, hash)| (&wanted.path, *hash)))
        .map_err(|source| failed(tree, "note the progress of", source))?;
    outcome.arrived_files = written.len() as u64;
    let files = written.into_iter().map(|(wanted, _)| (wanted.path, wanted.existing));
    for (path, error) in tree.place(files, bytes)? {
        check_disk(tree, error)?;
        outcome.arrived_files = outcome.arrived_files.saturating_sub(1);
        outcome.failed.push((path, error.to_string()));
    }
    Ok(outcome)
}

/// What became of files that were held against the server's hashes.
pub(super) struct Compared {
    /// Counts of those with the same content.
    pub(super) same: TreeTally,
    /// Those with another one, or that cannot be read.
    pub(super) other: Vec<Wanted>,
}

/// Holds files that are here against the hashes of those on the server.
pub(super) fn compare(here: &mut FolderChain, hashed: Vec<(Wanted, SmallFile)>) -> Compared {
    let mut compared = Compared { same: TreeTally::default(), other: Vec::new() };
    for (wanted, file) in hashed {
        if here.hash(&wanted.path, file.size as u64) == Some(file.hash) {
            compared.same.same_files += 1;
            compared.same.same_bytes += file.size as u64;
        } else {
            compared.other.push(wanted);
        }
    }
    compared
}

/// Gives up where the disk as a whole is concerned.
pub(super) fn check_disk(tree: &StagedTree, error: PutError) -> Result<(), StageError> {
    error.of_the_disk().map_or(Ok(()), |source| Err(failed(tree, "write into", source)))
}

fn failed(tree: &StagedTree, step: &'static str, source: std::io::Error) -> StageError {
    StageError::File { step, path: tree.target().path().to_owned(), source }
}

/// What a file or folder of the tree has beside its content.
pub(super) fn attributes(keep: Keep, modified_ns: i64, mode: u32) -> Attributes {
    keep.attributes(modified_ns, mode).unwrap_or(Attributes { modified_ns, mode: Mode::Default })
}
