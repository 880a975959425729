//! Exit codes, and which failure has which.

use std::fmt;
use std::process::ExitCode;

use anyhow::anyhow;
use towline_client::classic::{self, AttemptError};
use towline_client::native::{self, SessionError};
use towline_net::tls::TlsError;
use towline_proto::native::message::ErrorCode;
use towline_proto::native::preface::PrefaceError;
use towline_store::staged::StageError;

use crate::acquaintance::Advice;
use crate::advice;

/// Every way a command ends that is not success, but for arguments that are wrong by themselves, which end in 2
/// before anything begins. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Any other failure.
    Other = 1,
    /// The arguments do not go together.
    Usage = 2,
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
        Self::new(exit, anyhow!("{error}{}", advice::on(&error.source)))
    }
}

impl From<native::DownloadError> for Failure {
    fn from(error: native::DownloadError) -> Self {
        let exit = match &error.failure {
            native::Failure::Session { error: session, .. } => {
                if let SessionError::Untrusted(_) = session {
                    return Self::session(&format!("{} was not fetched", error.name), session);
                }
                let advice = advice::on_session(session);
                return Self::new(exit_of_session(session), anyhow!("{error}{advice}"));
            }
            native::Failure::Mismatch { .. } | native::Failure::Damaged(_) => Exit::Integrity,
            native::Failure::Stage(stage) => {
                let advice = advice::on_stage(stage);
                return Self::new(exit_of_stage(stage), anyhow!("{error}{advice}"));
            }
            _ => Exit::Other,
        };
        Self::new(exit, anyhow!("{error}"))
    }
}

impl Failure {
    /// Something that did not come about because of a session's failure.
    pub(crate) fn session(what: &str, error: &SessionError) -> Self {
        let exit = exit_of_session(error);
        match error {
            SessionError::Untrusted(distrusted) => {
                Self::new(exit, anyhow!("{what}: {}", Advice(distrusted)))
            }
            error => Self::new(exit, anyhow!("{what}: {error}{}", advice::on_session(error))),
        }
    }
}

/// What comes of a command about `all` things of which some failed, each with its code: the code of all where there is
/// one.
pub(crate) fn of_several(failed: &[Exit], all: usize) -> Result<(), Failure> {
    let Some(first) = failed.first() else { return Ok(()) };
    let is_common = failed.len() == all && failed.iter().all(|exit| exit == first);
    let exit = if is_common { *first } else { Exit::Partial };
    Err(Failure::new(exit, anyhow!("{} of {all} failed", failed.len())))
}

fn exit_of_session(error: &SessionError) -> Exit {
    match error {
        SessionError::Untrusted(_) | SessionError::Stranger(_) => Exit::Refused,
        SessionError::Pattern(_) => Exit::Usage,
        SessionError::LoginRefused(refusal) | SessionError::Refused(refusal) => {
            match refusal.code {
                ErrorCode::NotFound => Exit::NotFound,
                ErrorCode::Denied => Exit::Refused,
                ErrorCode::IsFolder => Exit::Usage,
                _ if refusal.retry => Exit::Network,
                _ => Exit::Other,
            }
        }
        // It is tried again, since a flipped bit may look like that, but is no failure of the network.
        SessionError::Tls(TlsError::AnotherProtocol | TlsError::NoTls(_))
        | SessionError::Preface(PrefaceError::Magic)
        | SessionError::AnotherService(_) => Exit::Other,
        error if error.is_retryable() => Exit::Network,
        _ => Exit::Other,
    }
}

fn exit_of_stage(error: &StageError) -> Exit {
    match error {
        StageError::Busy(_) => Exit::TargetBusy,
        StageError::TargetIsFolder(_)
        | StageError::TargetIsSpecial(_)
        | StageError::TargetIsNoFolder(_)
        | StageError::TargetExists(_) => Exit::TargetExists,
        _ => Exit::LocalDisk,
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
