//! What requests may take up at once, all together and from one source: threads, memory, open folders.

mod places;

use towline_proto::limits::DATA_BYTES_MAX;

pub(crate) use self::places::{Busy, Place, Places};
use crate::metrics::{Limit, Metrics};

/// Walks that are on their way at once, each for a while and then again. Each has a thread, and may have some 8 MiB of
/// names and as many open folders as a name has components.
const WALKS_MAX: u32 = 32;
const WALKS_MAX_PER_SOURCE: u32 = 4;

/// What all walks may hold that wait for their peer, in bytes, also in temporary files.
const STANDING_WALKS_BYTES_MAX: u32 = 256 << 20;
const STANDING_WALKS_BYTES_MAX_PER_SOURCE: u32 = 32 << 20;

/// Small files in memory, in bytes: chunks of them on their way, and such as are read ahead.
const SMALL_FILES_BYTES_MAX: u32 = 384 << 20;
const SMALL_FILES_BYTES_MAX_PER_SOURCE: u32 = 48 << 20;

// A source can fetch small files over eight connections and have the next chunk read ahead for each.
const _: () = assert!(SMALL_FILES_BYTES_MAX_PER_SOURCE as usize > 8 * 5 * DATA_BYTES_MAX);

/// What there is of everything, for all requests of a server.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// Threads that hash pieces and files. Few, so that those who ask for hashes leave some time to those who ask for
    /// bytes; a source may have all of them, and is one of many that wait.
    pub(crate) hashing: Places,
    /// Threads that look through folders.
    pub(crate) walks: Places,
    /// Bytes of what walks hold while they stand still.
    pub(crate) standing_walks: Places,
    /// Bytes of small files that are read or sent.
    pub(crate) small_files: Places,
}

impl Budgets {
    /// Hashes with as many `workers` at once. Whoever finds no place is counted in `metrics`.
    pub(crate) fn new(workers: usize, metrics: &Metrics) -> Self {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        let places = |all, each, limit| Places::new(all, each, metrics.limit(limit));
        Self {
            hashing: places(workers, workers, Limit::Hashing),
            walks: places(WALKS_MAX, WALKS_MAX_PER_SOURCE, Limit::Walks),
            standing_walks: places(
                STANDING_WALKS_BYTES_MAX,
                STANDING_WALKS_BYTES_MAX_PER_SOURCE,
                Limit::StandingWalks,
            ),
            small_files: places(
                SMALL_FILES_BYTES_MAX,
                SMALL_FILES_BYTES_MAX_PER_SOURCE,
                Limit::SmallFiles,
            ),
        }
    }
}
