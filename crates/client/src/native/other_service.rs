//! What answers where a towline server was expected, as far as its first bytes tell.

use std::fmt;

use towline_proto::native::preface::MAGIC;

/// How each begins to speak: by itself, or when it is sent what it does not understand.
const BEGINNINGS: [(&[u8], OtherService); 9] = [
    (b"SSH-", OtherService::Ssh),
    (b"HTTP/", OtherService::Web),
    (b"<", OtherService::Web),
    (b"@RSYNCD", OtherService::Rsync),
    (b"220", OtherService::FtpOrMail),
    (b"ERROR", OtherService::Classic),
    // A record of TLS: an alert, or part of a handshake.
    (b"\x15\x03", OtherService::Encrypted),
    (b"\x16\x03", OtherService::Encrypted),
    (&MAGIC, OtherService::Unencrypted),
];

/// Something that answers, and is not what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherService {
    /// An SSH server.
    Ssh,
    /// A web server.
    Web,
    /// An rsync daemon.
    Rsync,
    /// A server of files or mail that greets with a number.
    FtpOrMail,
    /// A server of the classic protocol alone.
    Classic,
    /// Something that does TLS, where it was asked without.
    Encrypted,
    /// A towline server that does no TLS, where it was asked for that.
    Unencrypted,
}

impl OtherService {
    /// What begins so; `None` where that says nothing.
    pub(super) fn of(first_bytes: &[u8]) -> Option<Self> {
        let speaks_so = |(beginning, _): &&(&[u8], Self)| first_bytes.starts_with(beginning);
        BEGINNINGS.iter().find(speaks_so).map(|(_, service)| *service)
    }
}

impl fmt::Display for OtherService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ssh => "what answers there is an SSH server",
            Self::Web => "what answers there is a web server",
            Self::Rsync => "what answers there is an rsync daemon",
            Self::FtpOrMail => "what answers there is an FTP or mail server",
            Self::Classic => "what answers there is a server of the classic protocol alone",
            Self::Encrypted => "what answers there wants to be asked encrypted",
            Self::Unencrypted => "the server does not encrypt",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::OtherService;

    #[test]
    fn a_server_is_told_by_how_it_begins_to_speak() {
        for (first_bytes, service) in [
            (&b"SSH-2.0-OpenSSH_10.0"[..], Some(OtherService::Ssh)),
            (b"HTTP/1.1 400 Bad Request", Some(OtherService::Web)),
            (b"220 mail.example ESMTP", Some(OtherService::FtpOrMail)),
            (b"ERROR Bad request", Some(OtherService::Classic)),
            (b"\x15\x03\x01\x00\x02\x02\x0a", Some(OtherService::Encrypted)),
            (b"\xf7TOW\x01", Some(OtherService::Unencrypted)),
            (b"\0\0\0\0", None),
            (b"", None),
        ] {
            assert_eq!(OtherService::of(first_bytes), service, "{first_bytes:?}");
        }
    }
}
