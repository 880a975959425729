//! Why an attempt fails, and the bound on each of its steps.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::time::timeout;
use towline_proto::classic::ReplyError;
use towline_proto::digest::Md5Digest;
use towline_proto::escape::Escaped;
use towline_store::staged::StageError;

use super::Options;
use crate::connect::ConnectError;

/// What the client was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Sending the request.
    Request,
    /// Waiting for the answer.
    Reply,
    /// Receiving the file.
    Content,
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The server was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server sent nothing for too long.
    #[error("the server was silent for {after:?} {phase}")]
    Silent {
        /// What was waited for.
        phase: Phase,
        /// How long.
        after: Duration,
    },
    /// The server closed the connection too early.
    #[error("the server closed the connection {phase}{}", full_server(*phase))]
    Closed {
        /// Where in the exchange.
        phase: Phase,
    },
    /// The connection broke.
    #[error("the connection broke {phase}: {source}")]
    Broken {
        /// Where in the exchange.
        phase: Phase,
        /// The system's reason.
        source: io::Error,
    },
    /// The answer is not one of this protocol.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The answer names another file than was asked for.
    #[error("the answer is about another file, \"{}\"", Escaped(.0.as_bytes()))]
    WrongName(String),
    /// The bytes are not those that the server hashed.
    #[error("the checksum does not match: {computed} was received, {declared} was declared")]
    Mismatch {
        /// The MD5 in the answer.
        declared: Md5Digest,
        /// The MD5 of what arrived.
        computed: Md5Digest,
    },
    /// The server has a message instead of the file.
    #[error("the server answered: {}", Escaped(.0.trim_ascii()))]
    Refused(Vec<u8>),
    /// The file could not be stored here.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl AttemptError {
    /// Whether the same attempt can go better later: everything but a refusal and a failure here.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Stage(_))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "while the request was sent",
            Self::Reply => "before it had answered",
            Self::Content => "in the middle of the file",
        })
    }
}

fn full_server(phase: Phase) -> &'static str {
    if phase == Phase::Reply {
        " (a server that is full does that, and one that asks for encryption)"
    } else {
        ""
    }
}

/// Bounds one step of the exchange.
pub(super) async fn in_time<T>(
    phase: Phase,
    options: &Options,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, AttemptError> {
    match timeout(options.silence_max, step).await {
        Ok(result) => result.map_err(|source| AttemptError::Broken { phase, source }),
        Err(_) => Err(AttemptError::Silent { phase, after: options.silence_max }),
    }
}
