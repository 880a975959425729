//! One connection that speaks the native protocol: requests go out, frames come in.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use towline_net::peeked::Peeked;
use towline_net::socket;
use towline_net::stream::Stream;
use towline_net::tls::TlsError;
use towline_proto::escape::Escaped;
use towline_proto::limits::HASHES_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::frame::{FrameError, HEADER_BYTES, Header, Kind};
use towline_proto::native::message::{
    Answer, ErrorCode, Info, MessageError, Refusal, Request, Version,
};
use towline_proto::native::preface::{PREFACE_BYTES, Preface, PrefaceError};
use towline_proto::piece::PieceHash;

use crate::connect::{Address, ConnectError, connect};
use crate::trust::{Distrusted, Trust};

/// Heartbeats that are borne before an answer: hours' worth from an honest server, which sends one in seconds.
const HEARTBEATS_MAX: u32 = 10_000;

/// A connection whose prefaces are exchanged.
#[derive(Debug)]
pub(super) struct Session {
    stream: Stream,
    silence_max: Duration,
}

/// What comes next from the server.
#[derive(Debug)]
pub(super) enum Frame {
    /// This many bytes of content, to be read with [`Session::read_content`].
    Content(usize),
    /// A message.
    Answer(Answer),
}

/// Why a session is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The server was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is not the one that is trusted.
    #[error(transparent)]
    Untrusted(#[from] Box<Distrusted>),
    /// No encrypted connection came about.
    #[error(transparent)]
    Tls(TlsError),
    /// The server closed a connection without encryption, and said nothing.
    #[error("the server closed the connection without an answer")]
    Unanswered,
    /// Nothing came for too long.
    #[error("the server was silent for {0:?}")]
    Silent(Duration),
    /// The server said for hours that it is at work, and nothing else.
    #[error("the server sent {HEARTBEATS_MAX} signs of life and no answer")]
    OnlyHeartbeats,
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The server's first bytes are not those of this protocol.
    #[error("{0}")]
    Preface(#[from] PrefaceError),
    /// A frame is damaged or malformed.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A message is malformed.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// A frame that was not asked for.
    #[error("the server answered something else than was asked for")]
    OutOfPlace,
    /// The server refused the request.
    #[error("the server answered: {}", Escaped(.0.text.as_bytes()))]
    Refused(Refusal),
}

impl SessionError {
    /// Whether another session can do better: all but a refusal that says otherwise.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.retry,
            Self::Untrusted(_) => false,
            Self::Tls(error) => matches!(error, TlsError::Handshake(_)),
            Self::Preface(error) => {
                !matches!(error, PrefaceError::Version(_) | PrefaceError::Capabilities(_))
            }
            _ => true,
        }
    }

    /// Whether the file is not the version any more that was asked for.
    pub fn is_changed(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == ErrorCode::Changed)
    }
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Broken(error),
        }
    }
}

impl Session {
    /// Connects, encrypted where trust asks for it, and asks what `name` is; the preface goes out together with the
    /// question.
    pub(super) async fn open(
        address: &Address,
        encryption: Option<&Trust>,
        name: &RemoteName,
        silence_max: Duration,
    ) -> Result<(Self, Info), SessionError> {
        let plain = connect(address, silence_max).await?;
        let mut stream = match encryption {
            None => Stream::plain(plain),
            Some(trust) => {
                let shaking_hands = trust.connector().connect(Peeked::new(plain));
                let shaken = timeout(silence_max, shaking_hands).await;
                let shaken = shaken.map_err(|_| SessionError::Silent(silence_max))?;
                Stream::tls(shaken.map_err(|error| match error {
                    TlsError::Untrusted(found) => trust.distrusted(found).into(),
                    error => SessionError::Tls(error),
                })?)
            }
        };
        let stat = Request::Stat { name: name.clone() };
        let greeting = [&Preface::OURS.encode()[..], &stat.encode()].concat();
        within(silence_max, write(&mut stream, &greeting)).await?;
        let mut session = Self { stream, silence_max };
        let mut preface = [0; PREFACE_BYTES];
        match session.read_exact(&mut preface).await {
            // Nothing at all came: not every server speaks to whoever does not encrypt.
            Err(SessionError::Closed) if encryption.is_none() && preface[0] == 0 => {
                return Err(SessionError::Unanswered);
            }
            read => read?,
        }
        Preface::decode(&preface)?;
        match session.next().await? {
            Frame::Answer(Answer::Info(info)) => Ok((session, info)),
            other => Err(other.into_error()),
        }
    }

    /// The time to the server and back; none where the system cannot tell.
    pub(super) fn round_trip(&self) -> Duration {
        socket::round_trip(self.stream.socket()).unwrap_or_default()
    }

    /// Sends a request.
    pub(super) async fn ask(&mut self, request: &Request) -> Result<(), SessionError> {
        within(self.silence_max, write(&mut self.stream, &request.encode())).await
    }

    /// The next frame that is no heartbeat; of those, only so many are borne.
    pub(super) async fn next(&mut self) -> Result<Frame, SessionError> {
        for _ in 0..HEARTBEATS_MAX {
            let mut header = [0; HEADER_BYTES];
            self.read_exact(&mut header).await?;
            let header = Header::decode(&header)?;
            if header.kind == Kind::Data {
                return Ok(Frame::Content(header.length));
            }
            let mut payload = vec![0; header.length];
            self.read_exact(&mut payload).await?;
            header.check(&payload)?;
            match Answer::decode(header.kind, &payload)? {
                Answer::Heartbeat => {}
                answer => return Ok(Frame::Answer(answer)),
            }
        }
        Err(SessionError::OnlyHeartbeats)
    }

    /// Reads some bytes of content into the free space of `buffer`, at most `length`; tells how many.
    pub(super) async fn read_content(
        &mut self,
        buffer: &mut Vec<u8>,
        length: usize,
    ) -> Result<usize, SessionError> {
        let mut limited = (&mut self.stream).take(length as u64);
        match within(self.silence_max, limited.read_buf(buffer)).await? {
            0 => Err(SessionError::Closed),
            read => Ok(read),
        }
    }

    /// Tells `on_hash` the hashes of all of `count` pieces of a version.
    pub(super) async fn hashes(
        &mut self,
        name: &RemoteName,
        version: &Version,
        count: u32,
        mut on_hash: impl FnMut(u32, PieceHash),
    ) -> Result<(), SessionError> {
        let mut first = 0;
        while first < count {
            let pieces = first..count.min(first + HASHES_MAX);
            let (name, version) = (name.clone(), version.clone());
            self.ask(&Request::Hashes { name, version, pieces: pieces.clone() }).await?;
            match self.next().await? {
                Frame::Answer(Answer::HashList { first, hashes })
                    if first == pieces.start && hashes.len() == pieces.len() =>
                {
                    (first..).zip(hashes).for_each(|(index, hash)| on_hash(index, hash));
                }
                other => return Err(other.into_error()),
            }
            first = pieces.end;
        }
        Ok(())
    }

    /// Fills `bytes`, patient as long as some come.
    async fn read_exact(&mut self, mut bytes: &mut [u8]) -> Result<(), SessionError> {
        while !bytes.is_empty() {
            match within(self.silence_max, self.stream.read(bytes)).await? {
                0 => return Err(SessionError::Closed),
                read => bytes = &mut bytes[read..],
            }
        }
        Ok(())
    }
}

impl Frame {
    /// What it means that this came instead of what was asked for.
    pub(super) fn into_error(self) -> SessionError {
        match self {
            Self::Answer(Answer::Error(refusal)) => SessionError::Refused(refusal),
            _ => SessionError::OutOfPlace,
        }
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn within<T>(
    silence_max: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, SessionError> {
    match timeout(silence_max, step).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(SessionError::Silent(silence_max)),
    }
}
