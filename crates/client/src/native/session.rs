//! One connection that speaks the native protocol: requests go out, frames come in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use towline_net::peeked::Peeked;
use towline_net::socket;
use towline_net::stream::Stream;
use towline_net::tls::TlsError;
use towline_proto::escape::Escaped;
use towline_proto::limits::HASHES_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::frame::{FrameError, HEADER_BYTES, Header, Kind};
use towline_proto::native::message::{Answer, ErrorCode, MessageError, Refusal, Request, Version};
use towline_proto::native::preface::{PREFACE_BYTES, Preface, PrefaceError};
use towline_proto::piece::PieceHash;
use towline_store::filter::PatternError;

use super::OtherService;
use super::last_heard::LastHeard;
use crate::connect::{Address, ConnectError, connect};
use crate::trust::{Distrusted, Stranger, Trust};

/// Heartbeats that are borne before an answer: hours' worth from an honest server, which sends one in seconds.
pub(super) const HEARTBEATS_MAX: u32 = 10_000;

/// A connection whose prefaces are exchanged.
#[derive(Debug)]
pub(super) struct Session {
    stream: Stream,
    silence_max: Duration,
    heard: Arc<LastHeard>,
}

/// What comes next from the server.
#[derive(Debug)]
pub(super) enum Frame {
    /// This many bytes of content, to be read with [`Session::read_content`] or [`Session::read_content_to`].
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
    /// It is to be told a secret, and nothing is known of it.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// No encrypted connection came about.
    #[error(transparent)]
    Tls(TlsError),
    /// What answers is no server of this protocol, or not of this way to speak it.
    #[error("{0}")]
    AnotherService(OtherService),
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
    /// An entry of a listing that does not follow the one before it.
    #[error("the server listed {0} twice or out of order; nothing of the listing can be believed")]
    OutOfOrder(RemoteName),
    /// An entry of a listing below something that was not listed as a folder.
    #[error(
        "the server listed {0} below what is no folder; nothing of the listing can be believed"
    )]
    BelowNoFolder(RemoteName),
    /// An entry of a listing that its rules leave out.
    #[error(
        "the server listed {0}, which was not asked for; nothing of the listing can be believed"
    )]
    NotAskedFor(RemoteName),
    /// A rule of a listing makes no sense.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The server did not let this user in.
    #[error("the server answered: {}", Escaped(.0.text.as_bytes()))]
    LoginRefused(Refusal),
    /// The server refused the request.
    #[error("the server answered: {}", Escaped(.0.text.as_bytes()))]
    Refused(Refusal),
}

impl SessionError {
    /// Whether another session can do better: all but a refusal that says otherwise.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::LoginRefused(refusal) | Self::Refused(refusal) => refusal.retry,
            Self::Untrusted(_)
            | Self::Stranger(_)
            | Self::OutOfOrder(_)
            | Self::BelowNoFolder(_)
            | Self::NotAskedFor(_)
            | Self::Pattern(_) => false,
            Self::Tls(error) => {
                matches!(
                    error,
                    TlsError::Handshake(_) | TlsError::NoTls(_) | TlsError::AnotherProtocol
                )
            }
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
    /// Connects, encrypted if `encryption` is set, and logs in if that holds a login. Sends `first`, if there is one,
    /// together with the preface: its answer comes next.
    pub(super) async fn open(
        address: &Address,
        encryption: Option<&Trust>,
        first: Option<&Request>,
        silence_max: Duration,
    ) -> Result<Self, SessionError> {
        let plain = connect(address, silence_max).await?;
        let mut stream = match encryption {
            None => Stream::plain(plain),
            Some(trust) => {
                let shaking_hands = trust.connector().connect(Peeked::new(plain));
                let shaken = timeout(silence_max, shaking_hands).await;
                let shaken = shaken.map_err(|_| SessionError::Silent(silence_max))?;
                Stream::tls(shaken.map_err(|error| match error {
                    TlsError::Untrusted(found) => trust.distrusted(found).into(),
                    error => not_encrypted(error),
                })?)
            }
        };
        let login = encryption.map(Trust::login).transpose()?.flatten();
        let login_frame = login.map(|login| Request::LogIn(login.clone()).encode());
        let login_frame = login_frame.as_deref().unwrap_or_default();
        let first = first.map(Request::encode).unwrap_or_default();
        let greeting = [&Preface::OURS.encode()[..], login_frame, &first].concat();
        within(silence_max, write(&mut stream, &greeting)).await?;
        let mut session = Self { stream, silence_max, heard: Arc::default() };
        let mut preface = [0; PREFACE_BYTES];
        let read = session.read_exact(&mut preface).await;
        // Some say less than a preface has, and close the connection.
        if let Some(service) = not_of_ours(&preface) {
            return Err(SessionError::AnotherService(service));
        }
        match read {
            // Nothing at all came: not every server speaks to whoever does not encrypt.
            Err(SessionError::Closed) if encryption.is_none() && preface[0] == 0 => {
                return Err(SessionError::Unanswered);
            }
            read => read?,
        }
        Preface::decode(&preface)?;
        if login.is_some() {
            match session.next().await? {
                Frame::Answer(Answer::Done) => {}
                Frame::Answer(Answer::Error(refusal)) => {
                    return Err(SessionError::LoginRefused(refusal));
                }
                other => return Err(other.into_error()),
            }
        }
        Ok(session)
    }

    /// Records arrivals in `heard` from now on, beginning with the one that has just happened.
    pub(super) fn noting(mut self, heard: Arc<LastHeard>) -> Self {
        heard.note();
        self.heard = heard;
        self
    }

    /// The time to the server and back; none where the system cannot tell.
    pub(super) fn round_trip(&self) -> Duration {
        socket::round_trip(self.stream.socket()).unwrap_or_default()
    }

    /// Whether the server has neither said anything unasked nor closed the connection.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        read.is_pending()
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
        let read = within(self.silence_max, limited.read_buf(buffer)).await?;
        self.came(read)
    }

    /// Reads some bytes of content to the beginning of `place`; tells how many.
    pub(super) async fn read_content_to(
        &mut self,
        place: &mut [u8],
    ) -> Result<usize, SessionError> {
        let read = within(self.silence_max, self.stream.read(place)).await?;
        self.came(read)
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
            let read = self.read_content_to(bytes).await?;
            bytes = &mut bytes[read..];
        }
        Ok(())
    }

    /// So many bytes have come; none is the end.
    fn came(&self, bytes: usize) -> Result<usize, SessionError> {
        if bytes == 0 {
            return Err(SessionError::Closed);
        }
        self.heard.note();
        Ok(bytes)
    }
}

/// What speaks otherwise, where something is known to begin so.
fn not_of_ours(preface: &[u8]) -> Option<OtherService> {
    OtherService::of(preface).filter(|service| *service != OtherService::Unencrypted)
}

/// Why no encrypted connection came about.
fn not_encrypted(error: TlsError) -> SessionError {
    let service = match &error {
        TlsError::NoTls(first_bytes) => OtherService::of(first_bytes),
        _ => None,
    };
    service.map_or(SessionError::Tls(error), SessionError::AnotherService)
}

impl Drop for Session {
    /// Says goodbye where that can be said without waiting, so that the server need not take it for a loss.
    fn drop(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_shutdown(&mut context);
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
