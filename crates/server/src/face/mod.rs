//! The faces: each speaks one protocol and knows one wire. A new one is a new file and a line here.

mod classic;

use tokio::net::TcpStream;
use towline_net::close::close_after_reply;
use towline_net::peeked::Peeked;
use towline_proto::limits::CLASSIC_DRAIN_BYTES_MAX;
use towline_proto::sniff::Face;

use crate::connection::Session;

/// Speaks the protocol that the first bytes asked for, until the connection ends.
pub(crate) async fn serve(face: Face, stream: &mut Peeked<TcpStream>, session: &Session) {
    match face {
        Face::Classic => classic::serve(stream, session).await,
        Face::Tls | Face::Native | Face::Http => {
            tracing::info!("{}: closed: {face:?} is not spoken yet", session.peer);
            close(stream, session).await;
        }
    }
}

/// Closes so that the peer gets all that was sent to it.
pub(crate) async fn close(stream: &mut Peeked<TcpStream>, session: &Session) {
    close_after_reply(stream, CLASSIC_DRAIN_BYTES_MAX, session.server.deadlines.close).await;
}
