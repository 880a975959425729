//! One request, as it is noted: what was asked for, by whom, and what came of it.

use std::net::SocketAddr;
use std::time::Duration;

use towline_net::send_file::SendError;
use towline_proto::name::RemoteName;
use towline_proto::native::message::{ErrorCode, Request};
use towline_proto::sniff::Face;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) face: Face,
    pub(crate) operation: Operation,
    /// The file or folder; `None` is what is above all names, or nothing.
    pub(crate) name: Option<RemoteName>,
    /// How many files of that folder, where it is about several.
    pub(crate) files: Option<usize>,
}

/// The kinds of requests, over all faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Stat,
    Fetch,
    Hashes,
    List,
    FetchTree,
    LogIn,
    Cancel,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    NotFound,
    Denied,
    /// A folder where a file was asked for, or the other way round, or a large file where small ones were.
    OtherKind,
    /// The file is another version than was asked for, or became one.
    Changed,
    /// It made no sense.
    Malformed,
    Busy,
    /// Reading failed.
    Failed,
    Cancelled,
    /// The connection ended before the answer did.
    Broken,
}

/// All that is known of a request that is over.
#[derive(Debug)]
pub(crate) struct RequestRecord<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) peer: SocketAddr,
    pub(crate) is_encrypted: bool,
    /// `None` is somebody whose login had ended before they asked.
    pub(crate) principal: Option<String>,
    pub(crate) outcome: Outcome,
    /// Bytes of content that went out.
    pub(crate) sent: u64,
    pub(crate) took: Duration,
}

impl Asked {
    /// A file by the classic protocol; `None` where what came was no name.
    pub(crate) fn classic(name: Option<RemoteName>) -> Self {
        Self { face: Face::Classic, operation: Operation::Fetch, name, files: None }
    }

    /// What a native request asks for.
    pub(crate) fn native(request: &Request) -> Self {
        let (operation, name, files) = match request {
            Request::Stat { name } => (Operation::Stat, Some(name), None),
            Request::Fetch { name, .. } => (Operation::Fetch, Some(name), None),
            Request::Hashes { name, .. } => (Operation::Hashes, Some(name), None),
            Request::List(list) => (Operation::List, list.folder.as_ref(), None),
            Request::FetchTree(fetch) => {
                (Operation::FetchTree, fetch.folder.as_ref(), Some(fetch.files.len()))
            }
            Request::LogIn(_) => (Operation::LogIn, None, None),
            Request::Cancel => (Operation::Cancel, None, None),
        };
        Self { face: Face::Native, operation, name: name.cloned(), files }
    }
}

impl Operation {
    /// As logs and metrics call it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Fetch => "fetch",
            Self::Hashes => "hashes",
            Self::List => "list",
            Self::FetchTree => "fetch-tree",
            Self::LogIn => "log-in",
            Self::Cancel => "cancel",
        }
    }
}

impl Outcome {
    /// What an answer of this code says.
    pub(crate) fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Denied => Self::Denied,
            ErrorCode::Changed => Self::Changed,
            ErrorCode::Busy => Self::Busy,
            ErrorCode::Io => Self::Failed,
            ErrorCode::Cancelled => Self::Cancelled,
            ErrorCode::IsFolder | ErrorCode::NotFolder | ErrorCode::TooLarge => Self::OtherKind,
            _ => Self::Malformed,
        }
    }

    /// What came of sending a file that could not be sent whole.
    pub(crate) fn of_sending(error: &SendError) -> Self {
        match error {
            SendError::Shrunk(_) => Self::Changed,
            SendError::Read(_) => Self::Failed,
            _ => Self::Broken,
        }
    }

    /// As logs and metrics call it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::OtherKind => "other-kind",
            Self::Changed => "changed",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Broken => "broken",
        }
    }
}

/// As logs and metrics call a face.
pub(crate) fn face_name(face: Face) -> &'static str {
    match face {
        Face::Classic => "classic",
        Face::Native => "native",
        Face::Tls => "tls",
        Face::Http => "http",
    }
}
