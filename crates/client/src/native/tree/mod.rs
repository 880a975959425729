//! Fetching a tree: list → differ → fetchers → writers, many small files in one stream, large ones by pieces
//! (PROTOCOL.md, "Trees").
//!
//! The listing is compared with what is here as it comes; what differs goes to the fetchers in batches. Nothing that
//! grows with the tree is held in memory.

mod differ;
mod fetcher;
mod inbox;
mod large;
mod later;
mod lead;
mod namesakes;
mod options;
mod report;
mod site;
mod tally;
mod wanted;
mod writing;

pub use self::options::{Compare, Destination, LinkPolicy, Run, TreeOptions};
pub use self::tally::{Failures, TreeFetched, TreeTally};

use std::time::{Duration, Instant};

use towline_proto::native::message::ErrorCode;
use towline_store::staged::StageError;

use super::SessionError;
use super::waves::OncePerWave;
use crate::monitor::Monitor;

/// Why a tree was not fetched; files that fail alone are told in [`TreeFetched`].
#[derive(Debug, thiserror::Error)]
#[error("{name} was not fetched from {address}: {failure}")]
pub struct TreeError {
    /// What was asked for, safe to print.
    pub name: String,
    /// The server.
    pub address: crate::connect::Address,
    /// Time from the first attempt to giving up.
    pub elapsed: Duration,
    /// What went wrong.
    pub failure: TreeFailure,
}

impl TreeError {
    /// Whether what has come is here for another attempt to go on from.
    pub fn keeps_what_came(&self) -> bool {
        use StageError::{Replaced, Unsynced};
        !matches!(self.failure, TreeFailure::Stage(Unsynced { .. } | Replaced(_)))
    }

    /// Whether what was asked for is there, and is no folder.
    pub fn is_about_a_file(&self) -> bool {
        matches!(&self.failure, TreeFailure::Session(SessionError::Refused(refusal))
            if refusal.code == ErrorCode::NotFolder)
    }
}

/// The ways to fail as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeFailure {
    /// No session came about, or one was lost, and retries are used up.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nothing can be stored here.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// Fetches a tree, resuming what is left of an earlier attempt. Dropping the future stops; what was received is kept
/// for the next attempt.
pub async fn download_tree(
    options: &TreeOptions,
    monitor: &dyn Monitor,
) -> Result<TreeFetched, TreeError> {
    let began = Instant::now();
    let fetched = lead::fetch(options, &OncePerWave::new(monitor)).await;
    let elapsed = began.elapsed();
    match fetched {
        Ok(fetched) => Ok(TreeFetched { elapsed, ..fetched }),
        Err(failure) => {
            let (name, address) = (options.name(), options.server.address().clone());
            Err(TreeError { name, address, elapsed, failure })
        }
    }
}
