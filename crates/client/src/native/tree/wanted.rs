//! Files that must come.

use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::Content;
use towline_store::staged::Existing;

/// A file that must come.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) path: RemoteName,
    pub(super) size: u64,
    /// What may happen to what has its name.
    pub(super) existing: Existing,
    /// How often it came and was no good.
    pub(super) attempts: u32,
}

/// Small files that are asked for together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) files: Vec<Wanted>,
    /// Their bytes, or only their hashes, to compare what is here with.
    pub(super) content: Content,
}
