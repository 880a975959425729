//! The life of one connection: its first bytes choose a face, under a deadline that runs from accept.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use towline_net::peeked::Peeked;
use towline_net::socket;
use towline_proto::sniff::{SNIFF_BYTES_MAX, Sniff, sniff};

use crate::face;
use crate::lifecycle::Server;

/// What every step of a connection knows: who is there, and the server.
pub(crate) struct Session {
    pub(crate) peer: SocketAddr,
    pub(crate) server: Arc<Server>,
}

/// Serves a connection to its end.
pub(crate) async fn run(stream: TcpStream, session: Session) {
    let peer = session.peer;
    tracing::info!("{peer}: connected");
    if let Err(error) = socket::prepare(&stream) {
        tracing::debug!("{peer}: the socket stays as it is: {error}");
    }
    let mut stream = Peeked::new(stream);
    tokio::select! {
        () = serve(&mut stream, &session) => {}
        () = session.server.shutdown.cutting() => tracing::warn!("{peer}: cut off by the shutdown"),
    }
}

async fn serve(stream: &mut Peeked<TcpStream>, session: &Session) {
    let peer = session.peer;
    let settle = |bytes: &[u8]| match sniff(bytes) {
        Sniff::NeedMore => None,
        settled => Some(settled),
    };
    let first_bytes =
        timeout(session.server.deadlines.first_bytes, stream.peek_until(SNIFF_BYTES_MAX, settle));
    match session.server.shutdown.unless_draining(first_bytes).await {
        Some(Ok(Ok(Some(Sniff::Face(face))))) => {
            let chosen =
                socket::choose_congestion_control(stream.get_ref(), &session.server.congestion);
            if let Err(error) = chosen {
                tracing::debug!("{peer}: the system's congestion control stays: {error}");
            }
            face::serve(face, stream, session).await;
        }
        Some(Ok(Ok(Some(_)))) => {
            tracing::info!("{peer}: closed: its first bytes are of no protocol spoken here");
            face::close(stream, session).await;
        }
        Some(Ok(Ok(None))) => tracing::info!("{peer}: left without a request"),
        Some(Ok(Err(error))) => tracing::info!("{peer}: lost before a request: {error}"),
        Some(Err(_)) => tracing::info!("{peer}: closed: sent no request in time"),
        None => tracing::info!("{peer}: closed: the server is shutting down"),
    }
}
