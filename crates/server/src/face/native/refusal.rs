//! What is answered as an `Error` frame: the one room where what went wrong becomes a code, a text, and whether to try
//! again.

use std::fmt::Display;
use std::io;

use towline_net::send_file::SendError;
use towline_proto::name::RemoteName;
use towline_proto::native::message::{ErrorCode, Refusal};
use towline_proto::native::preface::PrefaceError;
use towline_store::local::OpenError;
use towline_store::small_files::SmallFileError;

use super::NativeError;
use crate::auth::{Denied, LoginRefused};
use crate::budgets::Busy;
use crate::pieced_file::FileError;
use crate::service::{ServeError, SmallFileRefused};

/// How a request can fail: with an answer that says so, or with the end of the session.
pub(super) enum Failure {
    Refused(Refusal),
    Session(NativeError),
}

impl Failure {
    pub(super) fn refused(code: ErrorCode, text: impl Into<String>) -> Self {
        Self::Refused(refusal(code, text))
    }

    /// Of a file that is open and does not give what is asked of it.
    pub(super) fn of_file(name: &RemoteName, error: &FileError) -> Self {
        Self::Refused(match error {
            FileError::Changed => changed(name),
            FileError::Unreadable(error) => unreadable(name, error),
        })
    }

    /// Of a folder or file that is not served to who asks.
    pub(super) fn of_service(name: impl Display, error: &ServeError) -> Self {
        Self::Refused(of_service(name, error))
    }

    /// Of a folder that was opened and cannot be read.
    pub(super) fn of_folder(error: &io::Error) -> Self {
        Self::Refused(unreadable("the folder", error))
    }

    /// Of a file whose bytes were not sent whole.
    pub(super) fn of_sending(name: &RemoteName, error: SendError) -> Self {
        match error {
            SendError::Shrunk(_) => Self::Refused(changed(name)),
            SendError::Read(error) => Self::Refused(unreadable(name, &error)),
            lost => Self::Session(NativeError::Send(lost)),
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::refused(ErrorCode::Denied, denied.to_string())
    }
}

impl From<Busy> for Failure {
    fn from(busy: Busy) -> Self {
        Self::refused(ErrorCode::Busy, busy.to_string())
    }
}

impl<E: Into<NativeError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Session(error.into())
    }
}

/// Whether to try again follows from the code.
fn refusal(code: ErrorCode, text: impl Into<String>) -> Refusal {
    let retry = matches!(code, ErrorCode::Changed | ErrorCode::Io | ErrorCode::Busy);
    Refusal { code, text: text.into(), retry }
}

fn of_service(name: impl Display, error: &ServeError) -> Refusal {
    match error {
        ServeError::Denied(denied) => refusal(ErrorCode::Denied, denied.to_string()),
        ServeError::Pattern(error) => refusal(ErrorCode::BadRequest, error.to_string()),
        ServeError::Open(error) => of_opening(name, error),
    }
}

/// What is told of a name that cannot be opened. Whatever is not served looks the same from outside.
pub(super) fn of_opening(name: impl Display, error: &OpenError) -> Refusal {
    match error {
        OpenError::Io(error) => unreadable(name, error),
        OpenError::Unavailable(error) => {
            refusal(ErrorCode::Busy, format!("cannot open {name} for now: {error}"))
        }
        OpenError::IsFolder => refusal(ErrorCode::IsFolder, format!("{name} is a folder")),
        OpenError::NotAFolder => refusal(ErrorCode::NotFolder, format!("{name} is no folder")),
        _ => refusal(ErrorCode::NotFound, format!("no such file: {name}")),
    }
}

/// What is told of one of many small files.
pub(super) fn of_small_file(path: &RemoteName, error: &SmallFileRefused) -> Refusal {
    let error = match error {
        SmallFileRefused::Denied(denied) => return refusal(ErrorCode::Denied, denied.to_string()),
        SmallFileRefused::Unread(error) => error,
    };
    match error {
        SmallFileError::Open(error) => of_opening(path, error),
        SmallFileError::TooLarge(_) => refusal(ErrorCode::TooLarge, format!("{path}: {error}")),
        SmallFileError::Changed => changed(path),
        SmallFileError::Read(error) => unreadable(path, error),
        error => refusal(ErrorCode::Io, format!("{path}: {error}")),
    }
}

/// What a peer is told whose preface asks for more than is spoken here.
pub(super) fn of_preface(error: PrefaceError) -> Option<Refusal> {
    let asks_for_more = matches!(error, PrefaceError::Version(_) | PrefaceError::Capabilities(_));
    asks_for_more.then(|| refusal(ErrorCode::Unsupported, error.to_string()))
}

/// What the peer is told before its session ends, where it is more than silence.
pub(super) fn last_words(error: &NativeError) -> Option<Refusal> {
    let code = match error {
        NativeError::Login(LoginRefused::TooManyFailures | LoginRefused::Busy) => ErrorCode::Busy,
        NativeError::LoginInTheClear | NativeError::Login(_) | NativeError::Revoked(_) => {
            ErrorCode::Denied
        }
        _ => return None,
    };
    let text = match error {
        NativeError::Login(refused) => refused.to_string(),
        other => other.to_string(),
    };
    // Whoever failed too often would only wait longer.
    let retry = matches!(error, NativeError::Login(LoginRefused::Busy));
    Some(Refusal { code, text, retry })
}

fn changed(name: &RemoteName) -> Refusal {
    refusal(ErrorCode::Changed, format!("{name} changed"))
}

/// Of what the disk does not give, which may pass, or the system does not give the server, which does not by itself.
fn unreadable(name: impl Display, error: &io::Error) -> Refusal {
    if error.kind() == io::ErrorKind::PermissionDenied {
        let text = format!("the server itself may not read {name}");
        return Refusal { retry: false, ..refusal(ErrorCode::Io, text) };
    }
    refusal(ErrorCode::Io, format!("the server cannot read {name}: {error}"))
}
