//! The faces: each speaks one protocol and knows one wire. A new one is a new file and a line here.

mod classic;
mod native;

use towline_net::close::close_after_reply;
use towline_net::stream::Stream;
use towline_proto::limits::CLASSIC_DRAIN_BYTES_MAX;
use towline_proto::sniff::{Face, Sniff};

use crate::session::Session;

/// Speaks the protocol that the first bytes asked for, until the connection ends.
pub(crate) async fn serve(asked: Sniff, stream: &mut Stream, session: &mut Session) {
    if let Sniff::Face(face) = asked {
        session.face = Some(face);
    }
    let (peer, is_spoken) = (session.peer, session.is_spoken());
    match (asked, &mut *stream) {
        (Sniff::Face(Face::Classic), Stream::Plain(_)) if is_spoken => {
            return classic::serve(stream, session).await;
        }
        (Sniff::Face(Face::Native), _) if is_spoken => return native::serve(stream, session).await,
        (Sniff::Face(Face::Classic | Face::Native), Stream::Plain(_)) => {
            tracing::info!("{peer}: closed: this server does not speak that without encryption");
        }
        (Sniff::Face(Face::Http), _) => tracing::info!("{peer}: closed: HTTP is not spoken yet"),
        _ => tracing::info!("{peer}: closed: its first bytes are of no protocol spoken here"),
    }
    close(stream, session).await;
}

/// Closes so that the peer gets all that was sent to it.
async fn close(stream: &mut Stream, session: &Session) {
    close_after_reply(stream, CLASSIC_DRAIN_BYTES_MAX, session.server.deadlines.close).await;
}
