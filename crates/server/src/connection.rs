//! The life of one connection: its first bytes choose a face, each step under a deadline of its own.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::time::timeout;
use towline_net::peeked::Peeked;
use towline_net::socket;
use towline_net::stream::Stream;
use towline_net::tls::client_auth::ClientCertificate;
use towline_proto::sniff::{Face, SNIFF_BYTES_MAX, Sniff, sniff};

use crate::auth::Login;
use crate::face;
use crate::metrics::Limit;
use crate::records::ProofKind;
use crate::session::Session;

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
    #[error("closed: its handshake had stood longest of all, and others came")]
    GaveWay,
    #[error("closed: no encryption was agreed on: {0}")]
    Handshake(io::Error),
    #[error("closed: the server is shutting down")]
    Draining,
}

impl Unserved {
    /// As metrics call it.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Lost(_) => "lost",
            Self::Late => "late",
            Self::HandshakeLate => "handshake-late",
            Self::GaveWay => "handshake-gave-way",
            Self::Handshake(_) => "handshake-failed",
            Self::Draining => "draining",
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn run(stream: TcpStream, mut session: Session) {
    let (peer, shutdown) = (session.peer, session.server.shutdown.clone());
    tracing::info!("{peer}: connected");
    if let Err(error) = socket::prepare(&stream) {
        tracing::debug!("{peer}: the socket stays as it is: {error}");
    }
    tokio::select! {
        served = serve(stream, &mut session) => {
            if let Err(unserved) = served {
                tracing::info!("{peer}: {unserved}");
                session.server.metrics.count_unserved(unserved.as_str());
            }
        }
        () = shutdown.cutting() => tracing::warn!("{peer}: cut off by the shutdown"),
    }
}

async fn serve(stream: TcpStream, session: &mut Session) -> Result<(), Unserved> {
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
    let server = &session.server;
    // A handshake takes much memory, and a connection need keep none of it.
    let accepting = Box::pin(server.tls.accept(stream));
    let accepting = server.handshakes.run(session.source(), accepting);
    let accepting = timeout(server.deadlines.tls_handshake, accepting);
    let accepted = server.shutdown.unless_draining(accepting).await.ok_or(Unserved::Draining)?;
    let Some(accepted) = accepted.map_err(|_| Unserved::HandshakeLate)? else {
        server.metrics.count_limit(Limit::Handshakes);
        return Err(Unserved::GaveWay);
    };
    let encrypted = accepted.map_err(Unserved::Handshake)?;
    server.metrics.count_handshake();
    session.is_encrypted = true;
    if let Some(certificate) = ClientCertificate::shown_over(&encrypted) {
        let names = certificate.names().join(", ");
        tracing::info!("{}: has a certificate for {names}", session.peer);
        session.log_in(Login::Certificate(Arc::new(certificate)), ProofKind::Certificate);
    }
    let mut stream = Peeked::new(encrypted);
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
