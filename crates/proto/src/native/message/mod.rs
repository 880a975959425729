//! Requests and answers, parsed from control frames into values that are within their caps.

mod answer;
mod login;
pub mod paths;
mod request;
#[cfg(test)]
mod tests;
pub mod tree;

pub use self::answer::{Answer, Info};
pub use self::login::{Proof, Secret};
pub use self::request::Request;
use super::frame::Kind;
use super::wire;
use crate::limits::VERSION_BYTES_MAX;
use crate::name::NameError;
use crate::piece::SizeError;

/// What tells one content of a file from another: opaque to everyone but the server that gave it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Box<[u8]>);

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people; not to be trusted, escape it before printing.
    pub text: String,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Nothing that is served has that name.
    NotFound,
    /// Not allowed.
    Denied,
    /// The file is not the version that was asked for any more.
    Changed,
    /// The request makes no sense.
    BadRequest,
    /// The peer's version or a capability it demands is not spoken here.
    Unsupported,
    /// Too much is going on.
    Busy,
    /// Reading failed.
    Io,
    /// `Cancel` dropped all requests before it.
    Cancelled,
    /// A folder, where a file was asked for.
    IsFolder,
    /// Something else than a folder, where one was asked for.
    NotFolder,
    /// A file of more than one piece, where small ones were asked for.
    TooLarge,
    /// A number that is not known here.
    Other(u32),
}

const ERROR_CODES: [(u32, ErrorCode); 11] = [
    (1, ErrorCode::NotFound),
    (2, ErrorCode::Denied),
    (3, ErrorCode::Changed),
    (4, ErrorCode::BadRequest),
    (5, ErrorCode::Unsupported),
    (6, ErrorCode::Busy),
    (7, ErrorCode::Io),
    (8, ErrorCode::Cancelled),
    (9, ErrorCode::IsFolder),
    (10, ErrorCode::NotFolder),
    (11, ErrorCode::TooLarge),
];

/// Why a control frame is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not the protobuf message that its kind says.
    #[error("a message is malformed: {0}")]
    Malformed(String),
    /// The kind has no place here.
    #[error("a {0:?} frame has no place here")]
    OutOfPlace(Kind),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The version is longer than [`VERSION_BYTES_MAX`].
    #[error("a version of {0} bytes, more than {VERSION_BYTES_MAX}")]
    Version(usize),
    /// No runs, too many of them, or one that is empty or ends beyond [`PIECES_MAX`](crate::limits::PIECES_MAX).
    #[error("the runs of pieces make no sense")]
    Runs,
    /// A hash is not 32 bytes, or there are none or too many.
    #[error("the hashes are not 32 bytes each, or are none, or too many")]
    Hashes,
    /// No paths, too many of them, or one that repeats more of the path before it than there is.
    #[error("the paths are none, or too many, or make no sense")]
    Paths,
    /// A rule that is too long, or too many of them.
    #[error("the rules are too many or too long")]
    Rules,
    /// A login without a secret, or with a name or a secret that is too long.
    #[error("the login has no secret, or what it says is too long")]
    Login,
    /// A hole of no bytes.
    #[error("an empty hole")]
    EmptyHole,
    /// A size that no file has.
    #[error(transparent)]
    Size(#[from] SizeError),
}

impl From<prost::DecodeError> for MessageError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Version {
    /// Takes a server's bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > VERSION_BYTES_MAX {
            return Err(MessageError::Version(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes, for comparing and for the journal.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<wire::Error> for Refusal {
    fn from(wire::Error { code, text, retry }: wire::Error) -> Self {
        Self { code: ErrorCode::of(code), text, retry }
    }
}

impl From<&Refusal> for wire::Error {
    fn from(Refusal { code, text, retry }: &Refusal) -> Self {
        Self { code: code.number(), text: text.clone(), retry: *retry }
    }
}

impl ErrorCode {
    fn of(number: u32) -> Self {
        let known = ERROR_CODES.iter().find(|(known, _)| *known == number);
        known.map_or(Self::Other(number), |(_, code)| *code)
    }

    fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            // Each is in the table; a test says so.
            known => ERROR_CODES.iter().find(|(_, code)| *code == known).map_or(0, |(n, _)| *n),
        }
    }
}
