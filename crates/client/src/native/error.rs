//! Why a file was not fetched.

use std::time::Duration;

use towline_proto::native::message::ErrorCode;
use towline_store::staged::StageError;

use super::{Options, SessionError};

/// A failed download of a file or a tree, with what was tried.
#[derive(Debug, thiserror::Error)]
#[error("{name} was not fetched from {address}: {failure}")]
pub struct DownloadError {
    /// What was asked for, safe to print.
    pub name: String,
    /// The server.
    pub address: crate::connect::Address,
    /// Time from the first attempt to giving up.
    pub elapsed: Duration,
    /// What went wrong.
    pub failure: Failure,
}

/// The ways to fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No session came about, or all were lost, and retries are used up.
    #[error("{error}{}", tries(*attempts))]
    Session {
        /// What happened last.
        error: SessionError,
        /// How often it was tried in a row.
        attempts: u32,
    },
    /// The content is not what it must be.
    #[error("the content's BLAKE3 is {computed}, and should be {declared}")]
    Mismatch {
        /// What was asked for, or what the server declared.
        declared: blake3::Hash,
        /// The hash of what came.
        computed: blake3::Hash,
    },
    /// A piece was damaged every time it came.
    #[error("piece {0} was damaged each time that it came")]
    Damaged(u32),
    /// The file was another one each time that it was looked at.
    #[error(
        "it keeps changing on the server: fetch it when nobody writes to it, or a copy of it; what has come is kept"
    )]
    KeepsChanging,
    /// Pieces are missing though all were said to be here.
    #[error("the transfer ended with pieces missing; this is a defect of towline")]
    Incomplete,
    /// The file could not be stored here.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl DownloadError {
    /// Whether what has come is here for another attempt to go on from.
    pub fn keeps_what_came(&self) -> bool {
        use StageError::{Replaced, Unsynced};
        !matches!(self.failure, Failure::Stage(Unsynced { .. } | Replaced(_)))
    }

    /// Whether a tree was asked for and a file is there.
    pub fn is_about_a_file(&self) -> bool {
        matches!(&self.failure, Failure::Session { error: SessionError::Refused(refusal), .. }
            if refusal.code == ErrorCode::NotFolder)
    }

    pub(super) fn new(options: &Options, elapsed: Duration, failure: Failure) -> Self {
        let (name, address) = (options.name.to_string(), options.server.address().clone());
        Self { name, address, elapsed, failure }
    }
}

impl Failure {
    /// Whether the file is not the version any more that was asked for, and can be looked at anew.
    pub(super) fn is_changed(&self) -> bool {
        matches!(self, Self::Session { error, .. } if error.is_changed())
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::Session { error, attempts: 1 }
    }
}

fn tries(attempts: u32) -> String {
    if attempts > 1 { format!(" (tried {attempts} times)") } else { String::new() }
}
