//! What has become of a file that was to come.

use std::path::PathBuf;
use std::time::Duration;

/// A file that is here, whole and verified.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its BLAKE3.
    pub root: blake3::Hash,
    /// How the bytes came to be here.
    pub tally: Tally,
    /// Time from the first attempt to the published file, waits included.
    pub elapsed: Duration,
}

/// Where a file's bytes came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of content that came over the network.
    pub received_bytes: u64,
    /// Bytes that were here from before, and verified again.
    pub kept_bytes: u64,
    /// Bytes that were damaged on their way and fetched again.
    pub repaired_bytes: u64,
    /// Connections that were lost.
    pub lost_connections: u32,
    /// Whether the target was there already, with this very content.
    pub was_up_to_date: bool,
}
