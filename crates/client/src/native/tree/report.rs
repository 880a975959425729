//! What those who do a tree's work tell whoever leads.

use std::time::Duration;

use towline_proto::name::RemoteName;
use towline_store::staged::StageError;

use super::tally::TreeTally;
use crate::native::SessionError;

/// News of the work.
#[derive(Debug)]
pub(super) enum Report {
    /// More is done, or known to be done.
    Counted(TreeTally),
    /// No more will be found, but for what differs where contents are compared.
    FoundAll,
    /// Content of small files came.
    Received { bytes: u64 },
    /// Some of it was damaged.
    Damaged { bytes: u64 },
    /// A file or folder failed.
    Failed { path: RemoteName, reason: String },
    /// In a dry run: this file differs.
    WouldFetch { path: RemoteName, size: u64 },
    /// A connection for small files is lost, as often in a row as `attempt` says; it connects again after a wait.
    Lost { error: SessionError, attempt: u32, wait: Duration },
    /// One is lost, and does not connect again.
    GaveUp { error: SessionError },
    /// Nothing can be stored here.
    StageFailed(StageError),
}
