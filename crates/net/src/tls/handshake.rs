//! Shaking hands: the TLS library says what to send and to whom to listen, until there are keys for both directions.
//!
//! It is given record after record, never more than it has asked for, so that what follows the handshake is left whole
//! for [`super::records`].

use std::io;
use std::ops::DerefMut;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedConnectionCommon,
    UnbufferedStatus,
};
use rustls::{CommonState, Error, ExtractedSecrets, HandshakeKind, NamedGroup, PeerMisbehaved};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::records::{HEADER_BYTES, PLAIN_BYTES_MAX, Side, record_bytes};

/// Bytes that are read at once: a server's whole part, mostly.
const READ_BYTES: usize = 4 * 1_024;

/// Bytes of what is no TLS that are told: enough to tell what it is.
const FIRST_BYTES: usize = 8;

/// Most bytes of a record, before there are keys or after (RFC 5246, section 6.2.3; TLS 1.3 allows fewer).
const WIRE_BYTES_MAX: usize = HEADER_BYTES + PLAIN_BYTES_MAX + 2_048;

/// Either end of the TLS library's connection, which shakes hands.
pub(super) trait Unbuffered:
    DerefMut<Target = UnbufferedConnectionCommon<Self::Data>>
{
    type Data;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// The keys that it has come to, and what makes the next ones.
    fn into_keys(self) -> Result<(ExtractedSecrets, Side), Error>;
}

/// What the two ends have agreed on.
#[derive(Debug)]
pub struct Agreed {
    /// The protocol to be spoken inside, by its name (RFC 7301).
    pub protocol: Option<Vec<u8>>,
    /// Whether the session is one that was resumed.
    pub kind: Option<HandshakeKind>,
    /// How keys were exchanged.
    pub key_exchange: Option<NamedGroup>,
    /// What the peer has shown, its own certificate first, and proved to have the key of.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// What has come of a handshake.
pub(super) struct Shaken {
    pub(super) agreed: Agreed,
    pub(super) secrets: ExtractedSecrets,
    pub(super) side: Side,
    /// Bytes that have already come behind the handshake.
    pub(super) came: Vec<u8>,
}

/// The first bytes of what is no TLS from the beginning on.
#[derive(Debug, thiserror::Error)]
#[error("what came is no TLS")]
pub(super) struct NoTls(pub(super) Vec<u8>);

/// What is to be done for a handshake to go on.
enum Step {
    /// Something was made to be sent.
    Send,
    /// Another record is needed.
    Receive,
    /// Nothing more.
    Done,
}

impl Agreed {
    fn of(connection: &CommonState) -> Self {
        Self {
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            kind: connection.handshake_kind(),
            key_exchange: connection.negotiated_key_exchange_group().map(SupportedKxGroup::name),
            certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
        }
    }
}

/// Shakes hands; `came` are the first bytes, where they were read before.
pub(super) async fn shake<C: Unbuffered, S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut connection: Box<C>,
    mut came: Vec<u8>,
) -> io::Result<Shaken> {
    let mut outgoing = Vec::new();
    // How much of what came the library has seen; it may need a part of that again.
    let mut seen = 0;
    let (mut is_first, mut no_tls) = (true, None);
    loop {
        let (done_with, step) = step(&mut *connection, &mut came[..seen], &mut outgoing);
        came.drain(..done_with);
        seen -= done_with;
        match step {
            Ok(Step::Send) => {}
            Ok(Step::Receive) => {
                send(stream, &mut outgoing).await?;
                seen += receive_record(stream, &mut came, seen).await?;
                if std::mem::take(&mut is_first) && !may_be_a_record(&came) {
                    let told = came.len().min(FIRST_BYTES);
                    no_tls = Some(NoTls(came[..told].to_vec()));
                }
            }
            Ok(Step::Done) => break,
            Err(error) => {
                // What matters here is this error, not whether the peer can be told of it. As long as there is
                // something to be sent, a step looks at no record.
                while connection.wants_write() {
                    let _ = self::step(&mut *connection, &mut came[..seen], &mut outgoing);
                }
                let _ = send(stream, &mut outgoing).await;
                return Err(match no_tls {
                    Some(no_tls) => io::Error::new(io::ErrorKind::InvalidData, no_tls),
                    None => io::Error::new(io::ErrorKind::InvalidData, error),
                });
            }
        }
    }
    send(stream, &mut outgoing).await?;
    // No message goes on beyond a change of keys (RFC 8446, section 5.1), so that all that was seen is done with.
    if seen > 0 {
        let error = Error::from(PeerMisbehaved::KeyEpochWithPendingFragment);
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let agreed = Agreed::of(&connection);
    let (secrets, side) = connection.into_keys().map_err(io::Error::other)?;
    Ok(Shaken { agreed, secrets, side, came })
}

/// Goes on as far as the records allow; returns how many of their bytes are used up, and what to do next.
fn step<C: Unbuffered>(
    connection: &mut C,
    records: &mut [u8],
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { discard, state } = connection.process(records);
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(data) => encode(data, outgoing).map(|()| Step::Send),
        // What was encoded goes out before the library is given anything more.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Send)
        }
        // A server could write before it has heard all of the client.
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Ok(Step::Receive),
        _ => Err(Error::HandshakeNotComplete),
    });
    match step {
        Ok(Step::Receive) if !connection.is_handshaking() => (discard, Ok(Step::Done)),
        step => (discard, step),
    }
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    let before = outgoing.len();
    match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            outgoing.resize(before + required_size, 0);
        }
        Ok(_) => return Ok(()),
        Err(error) => return Err(Error::General(error.to_string())),
    }
    let encoded = data.encode(&mut outgoing[before..]);
    encoded.map(drop).map_err(|error| Error::General(error.to_string()))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, outgoing: &mut Vec<u8>) -> io::Result<()> {
    if !outgoing.is_empty() {
        stream.write_all(outgoing).await?;
        stream.flush().await?;
        outgoing.clear();
    }
    Ok(())
}

/// Waits until a whole record has come behind what is there at `start`, and tells its length.
async fn receive_record<S: AsyncRead + Unpin>(
    stream: &mut S,
    came: &mut Vec<u8>,
    start: usize,
) -> io::Result<usize> {
    loop {
        let begun = &came[start..];
        match record_bytes(begun) {
            Some(length) if length <= begun.len() => return Ok(length),
            // What is no record is for the library to refuse, and need not come whole.
            Some(_) if !may_be_a_record(begun) => return Ok(begun.len()),
            _ => receive(stream, came).await?,
        }
    }
}

/// Whether a record could begin so; its version is for the library to judge.
fn may_be_a_record(begun: &[u8]) -> bool {
    matches!(begun, [20..=23, 3, ..])
        && record_bytes(begun).is_none_or(|length| length <= WIRE_BYTES_MAX)
}

/// Reads what the peer has sent.
pub(super) async fn receive<S: AsyncRead + Unpin>(
    stream: &mut S,
    came: &mut Vec<u8>,
) -> io::Result<()> {
    came.reserve(READ_BYTES);
    if stream.read_buf(came).await? == 0 {
        let broken_off = "the peer closed the connection during the handshake";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, broken_off));
    }
    Ok(())
}

impl Unbuffered for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn into_keys(self) -> Result<(ExtractedSecrets, Side), Error> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Side::Client(connection)))
    }
}

impl Unbuffered for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn into_keys(self) -> Result<(ExtractedSecrets, Side), Error> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Side::Server(connection)))
    }
}
