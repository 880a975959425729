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

use std::time::Instant;

use super::DownloadError;
use super::waves::OncePerWave;
use crate::monitor::Monitor;

/// Fetches a tree, resuming what is left of an earlier attempt; files that fail alone are told in [`TreeFetched`].
/// Dropping the future stops; what was received is kept for the next attempt.
pub async fn download_tree(
    options: &TreeOptions,
    monitor: &dyn Monitor,
) -> Result<TreeFetched, DownloadError> {
    let began = Instant::now();
    let fetched = lead::fetch(options, &OncePerWave::new(monitor)).await;
    let elapsed = began.elapsed();
    match fetched {
        Ok(fetched) => Ok(TreeFetched { elapsed, ..fetched }),
        Err(failure) => {
            let (name, address) = (options.name(), options.server.address().clone());
            Err(DownloadError { name, address, elapsed, failure })
        }
    }
}
