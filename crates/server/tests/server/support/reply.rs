//! What a classic client makes of the bytes that come.

use md5::{Digest, Md5};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use towline_proto::classic::{Header, Reply as Beginning};
use towline_proto::codec::Decoded;
use towline_proto::digest::Md5Digest;
use towline_testkit::deadline::within;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Reset,
}

/// A whole reply, judged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// All of a file, with the right MD5.
    Whole { name: String, content: Content },
    /// All of its bytes, with another MD5.
    Damaged,
    /// `ERROR` and this text.
    Refused(String),
    /// It ended early, after these bytes.
    Cut(Content),
}

/// Bytes that a failing test does not print by the million.
#[derive(PartialEq, Eq)]
pub(crate) struct Content(pub(crate) Vec<u8>);

impl Content {
    /// Whether `part` is somewhere in it.
    pub(crate) fn contains(&self, part: &str) -> bool {
        let mut windows = self.0.windows(part.len());
        windows.any(|window| window == part.as_bytes())
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let beginning = &self.0[..self.0.len().min(40)];
        write!(f, "{} bytes: {}", self.0.len(), beginning.escape_ascii())
    }
}

impl Reply {
    /// The reply with a whole file, answered by this name.
    pub(crate) fn whole(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self::Whole { name: name.into(), content: Content(content.into()) }
    }

    /// The end of a connection that brought no byte.
    pub(crate) fn nothing() -> Self {
        Self::Cut(Content(Vec::new()))
    }

    /// Judges all the bytes of a connection.
    pub(crate) fn of(mut bytes: Vec<u8>) -> Self {
        match Beginning::decode(&bytes).unwrap() {
            Decoded::NeedMore(_) => Self::Cut(Content(bytes)),
            Decoded::Done(Beginning::Refused) => {
                Self::Refused(String::from_utf8(bytes.split_off(b"ERROR".len())).unwrap())
            }
            Decoded::Done(Beginning::Found(header)) => {
                let content = bytes.split_off(header.encode().len());
                judge(&header, content)
            }
        }
    }

    /// The bytes that go before the content of the file answered by `name`.
    pub(crate) fn header_bytes(name: &str) -> usize {
        let header = Header { name: name.into(), size: 0, md5: Md5Digest([0; 16]) };
        header.encode().len()
    }

    /// The text of a refusal.
    pub(crate) fn refusal(self) -> String {
        match self {
            Self::Refused(text) => text,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        matches!(self, Self::Cut(_))
    }
}

fn judge(header: &Header, content: Vec<u8>) -> Reply {
    let received = content.len() as u64;
    assert!(received <= header.size, "more bytes than declared");
    if received < header.size {
        Reply::Cut(Content([header.encode(), content].concat()))
    } else if Md5::digest(&content)[..] == header.md5.0 {
        Reply::whole(&header.name, content)
    } else {
        Reply::Damaged
    }
}

/// Takes a whole reply.
pub(crate) async fn read_reply(stream: &mut TcpStream) -> Reply {
    Reply::of(read_all(stream).await.0)
}

/// Takes all that comes until the connection ends.
pub(crate) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    match within("the end of a connection", stream.read_to_end(&mut bytes)).await {
        Ok(_) => (bytes, End::Clean),
        Err(_) => (bytes, End::Reset),
    }
}
