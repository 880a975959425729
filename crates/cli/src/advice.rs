//! What can be tried where something fails, as the end of what is said of it.

use std::error::Error;
use std::io::ErrorKind;

use towline_client::classic::AttemptError;
use towline_client::connect::ConnectError;
use towline_client::native::{OtherService, SessionError};
use towline_net::tls::TlsError;
use towline_proto::native::message::ErrorCode;
use towline_proto::native::preface::PrefaceError;
use towline_store::staged::StageError;

/// What can be tried after whichever error ended an attempt; empty where nothing helps but time.
pub(crate) fn on(error: &(dyn Error + 'static)) -> &'static str {
    if let Some(error) = error.downcast_ref() {
        return on_session(error);
    }
    match error.downcast_ref() {
        Some(AttemptError::Connect(error)) => on_connecting(error),
        _ => "",
    }
}

/// What can be tried where the two ends do not agree on whether and how to encrypt, or on what there is.
pub(crate) fn on_session(error: &SessionError) -> &'static str {
    match error {
        SessionError::Connect(ConnectError::LookUp { .. }) => {
            "; a URL begins with a server: HOST[:PORT]/PATH"
        }
        SessionError::Connect(error) => on_connecting(error),
        SessionError::Tls(TlsError::AnotherProtocol | TlsError::NoTls(_))
        | SessionError::Preface(PrefaceError::Magic) => "; is this a towline server, and its port?",
        SessionError::AnotherService(service) => match service {
            OtherService::Unencrypted => "; if the network is one that you trust: --plain",
            OtherService::Classic => "; `towline client FILENAME HOST PORT` fetches from those",
            OtherService::Encrypted => "; leave --plain out, and is this a towline server?",
            _ => "; is the port right? `towline serve` prints its own when it starts",
        },
        SessionError::Tls(_) => {
            "; is this a towline server? If it has no encryption and the network is one that you trust: --plain"
        }
        SessionError::Unanswered => {
            "; it may be busy, or speak to nobody without encryption: try without --plain"
        }
        SessionError::LoginRefused(refusal) if refusal.code == ErrorCode::Denied => {
            "; it was told what is in --token-file, in TOWLINE_TOKEN, or kept by `towline login`"
        }
        SessionError::Refused(refusal) => match refusal.code {
            ErrorCode::IsFolder => "; get -r fetches folders",
            ErrorCode::NotFound => {
                "; `towline ls -l` of the folder around it shows what there is. A symbolic link is not followed: get what it leads to"
            }
            ErrorCode::Denied => {
                "; `towline login` tells the server who you are, `towline ls HOST/` what there is"
            }
            _ => "",
        },
        _ => "",
    }
}

/// What can be tried where the result cannot be in its place.
pub(crate) fn on_stage(error: &StageError) -> &'static str {
    match error {
        StageError::TargetExists(_) => ", and differs; -f replaces it",
        StageError::TargetIsFolder(_) => "; -d puts a file into it, -r brings a folder up to date",
        _ => "",
    }
}

/// What can be looked at where no server was reached.
fn on_connecting(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Unreachable { source, .. }
            if source.kind() == ErrorKind::ConnectionRefused =>
        {
            "; is a server running there, and on that port?"
        }
        _ => "",
    }
}
