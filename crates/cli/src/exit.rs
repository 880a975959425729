//! Exit codes, and which failure has which.

use std::fmt;
use std::process::ExitCode;

use anyhow::anyhow;
use towline_client::classic::{self, AttemptError};
use towline_client::native::{self, SessionError};
use towline_net::tls::TlsError;
use towline_proto::native::message::ErrorCode;
use towline_store::staged::StageError;

use crate::trust::Advice;

/// Every way a command ends that is not success, but for wrong arguments, which end in 2 before anything
/// begins. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Any other failure.
    Other = 1,
    /// What was asked for does not exist.
    NotFound = 3,
    /// The server does not allow it, or is not the one that is trusted.
    Refused = 4,
    /// The network failed, and retries are used up.
    Network = 5,
    /// The bytes are not what they should be.
    Integrity = 6,
    /// The local disk: full, failing, or not permitted.
    LocalDisk = 7,
    /// Something else is where the result would be.
    TargetExists = 8,
    /// Another transfer is writing the same target.
    TargetBusy = 9,
    /// Some files of many failed.
    Partial = 23,
    /// Ended by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// Shown in the help.
pub(crate) const CODES: &str = "\
Exit codes:
  0    done
  1    other failure
  2    wrong usage
  3    not found
  4    refused: not allowed, or not the server that is trusted
  5    network failure, retries used up
  6    the content does not match its checksum
  7    local disk: full, failing, or not permitted
  8    something else is in the target's place
  9    the target is in use by another transfer
  23   some files of many failed
  130  interrupted";

/// Why a command failed, and the code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

/// The whole chain of causes on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Other, error)
    }
}

impl From<classic::DownloadError> for Failure {
    fn from(error: classic::DownloadError) -> Self {
        let exit = match &error.source {
            AttemptError::Refused(_) => Exit::NotFound,
            AttemptError::Mismatch { .. } | AttemptError::WrongName(_) => Exit::Integrity,
            AttemptError::Stage(error) => exit_of_stage(error),
            _ => Exit::Network,
        };
        // The error's own text says its cause already.
        Self::new(exit, anyhow!("{error}"))
    }
}

impl From<native::DownloadError> for Failure {
    fn from(error: native::DownloadError) -> Self {
        let exit = match &error.failure {
            native::Failure::Session { error: SessionError::Untrusted(distrusted), .. } => {
                let (name, advice) = (&error.name, Advice(distrusted));
                return Self::new(Exit::Refused, anyhow!("{name} was not fetched: {advice}"));
            }
            native::Failure::Session {
                error: SessionError::Tls(TlsError::AnotherProtocol),
                ..
            } => Exit::Other,
            native::Failure::Session { error: SessionError::Refused(refusal), .. } => {
                match refusal.code {
                    ErrorCode::NotFound => Exit::NotFound,
                    ErrorCode::Denied => Exit::Refused,
                    ErrorCode::Unsupported | ErrorCode::BadRequest => Exit::Other,
                    _ => Exit::Network,
                }
            }
            native::Failure::Session { .. } => Exit::Network,
            native::Failure::Mismatch { .. } | native::Failure::Damaged(_) => Exit::Integrity,
            native::Failure::Stage(error) => exit_of_stage(error),
            _ => Exit::Other,
        };
        let advice = advice(&error.failure);
        Self::new(exit, anyhow!("{error}{advice}"))
    }
}

/// What can be tried where the two ends do not agree on whether and how to encrypt.
fn advice(failure: &native::Failure) -> &'static str {
    let native::Failure::Session { error, .. } = failure else { return "" };
    match error {
        SessionError::Tls(TlsError::AnotherProtocol) => "; is this a towline server?",
        SessionError::Tls(_) => {
            "; is this a towline server? If it has no encryption and the network is one that you trust: --plain"
        }
        SessionError::Unanswered => {
            "; it may be busy, or speak to nobody without encryption: try without --plain"
        }
        _ => "",
    }
}

fn exit_of_stage(error: &StageError) -> Exit {
    match error {
        StageError::Busy(_) => Exit::TargetBusy,
        StageError::TargetIsFolder(_) | StageError::TargetExists(_) => Exit::TargetExists,
        _ => Exit::LocalDisk,
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
