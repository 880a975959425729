//! The life of one connection: its first bytes choose a face, under deadlines that run from accept.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::time::timeout;
use towline_net::peeked::Peeked;
use towline_net::socket;
use towline_net::stream::Stream;
use towline_proto::sniff::{Face, SNIFF_BYTES_MAX, Sniff, sniff};

use crate::face;
use crate::lifecycle::Server;

/// What every step of a connection knows: who is there, and the server.
pub(crate) struct Session {
    pub(crate) peer: SocketAddr,
    pub(crate) server: Arc<Server>,
}

/// Why a connection ended before a face could serve it.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error("left without a request")]
    Left,
    #[error("lost before a request: {0}")]
    Lost(io::Error),
    #[error("closed: sent no request in time")]
    Late,
    #[error("closed: the encryption was not agreed on in time")]
    HandshakeLate,
    #[error("closed: no encryption was agreed on: {0}")]
    Handshake(io::Error),
    #[error("closed: the server is shutting down")]
    Draining,
}

/// Serves a connection to its end.
pub(crate) async fn run(stream: TcpStream, session: Session) {
    let peer = session.peer;
    tracing::info!("{peer}: connected");
    if let Err(error) = socket::prepare(&stream) {
        tracing::debug!("{peer}: the socket stays as it is: {error}");
    }
    tokio::select! {
        served = serve(stream, &session) => {
            if let Err(unserved) = served {
                tracing::info!("{peer}: {unserved}");
            }
        }
        () = session.server.shutdown.cutting() => tracing::warn!("{peer}: cut off by the shutdown"),
    }
}

async fn serve(stream: TcpStream, session: &Session) -> Result<(), Unserved> {
    let mut stream = Peeked::new(stream);
    let asked = first_bytes(&mut stream, session).await?;
    let chosen = socket::choose_congestion_control(stream.get_ref(), &session.server.congestion);
    if let Err(error) = chosen {
        tracing::debug!("{}: the system's congestion control stays: {error}", session.peer);
    }
    if asked != Sniff::Face(Face::Tls) {
        face::serve(asked, &mut Stream::Plain(stream), session).await;
        return Ok(());
    }
    let accepting = session.server.tls.accept(stream);
    let accepting = timeout(session.server.deadlines.tls_handshake, accepting);
    let accepted = session.server.shutdown.unless_draining(accepting).await;
    let encrypted = accepted.ok_or(Unserved::Draining)?.map_err(|_| Unserved::HandshakeLate)?;
    let mut stream = Peeked::new(encrypted.map_err(Unserved::Handshake)?);
    let asked = first_bytes(&mut stream, session).await?;
    face::serve(asked, &mut Stream::Tls(Box::new(stream)), session).await;
    Ok(())
}

/// What the first bytes ask for, on the wire and again inside the encryption.
async fn first_bytes<S: AsyncRead + Unpin>(
    stream: &mut Peeked<S>,
    session: &Session,
) -> Result<Sniff, Unserved> {
    let settle = |bytes: &[u8]| match sniff(bytes) {
        Sniff::NeedMore => None,
        settled => Some(settled),
    };
    let peeking = stream.peek_until(SNIFF_BYTES_MAX, settle);
    let peeking = timeout(session.server.deadlines.first_bytes, peeking);
    let peeked = session.server.shutdown.unless_draining(peeking).await;
    let peeked = peeked.ok_or(Unserved::Draining)?.map_err(|_| Unserved::Late)?;
    peeked.map_err(Unserved::Lost)?.ok_or(Unserved::Left)
}
