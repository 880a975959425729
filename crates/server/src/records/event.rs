//! What the audit record holds: who was let in or turned away, and what changed about who may do what.

use std::net::SocketAddr;

use towline_proto::name::RemoteName;

use crate::policy::Action;

/// One entry of the audit record.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The server began to serve.
    Started,
    /// The server has ended.
    Ended,
    /// Somebody proved who they are, or tried to.
    Login {
        /// Who came.
        peer: SocketAddr,
        /// Whom they proved to be, or said to be.
        who: &'a str,
        /// By what.
        by: ProofKind,
        /// Why they were not let in; `None` where they were.
        refused: Option<&'a str>,
    },
    /// The rules did not allow something.
    Denied {
        /// Who asked.
        peer: SocketAddr,
        /// Whom they had proved to be.
        who: &'a str,
        /// What they wanted to do.
        action: Action,
        /// With what; `None` is what is above all names.
        name: Option<&'a RemoteName>,
        /// With how many others besides, in the same request.
        others: usize,
    },
    /// A password or a token is new, another one, or gone.
    Credentials {
        /// Which, and what became of it.
        change: &'a str,
    },
    /// Files were read again while the server ran.
    Reload {
        /// Which.
        what: &'a str,
        /// Why what held before still holds; `None` where the new ones do.
        refused: Option<&'a str>,
    },
}

/// By what people prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// By a password.
    Password,
    /// By a token.
    Token,
    /// By a client certificate.
    Certificate,
}

impl ProofKind {
    /// As logs and metrics call it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::Certificate => "certificate",
        }
    }
}
