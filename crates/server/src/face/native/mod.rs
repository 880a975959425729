//! The native protocol's server side (PROTOCOL.md, "The native protocol").
//!
//! One task reads requests ahead into a bounded queue, one answers them in order. `Cancel` overtakes: what
//! was queued before it is dropped.

mod answer;
mod fetch_tree;
mod heartbeats;
mod list;
mod refusal;
mod requests;
mod sender;
#[cfg(test)]
mod testing;

use std::io;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use towline_net::stream::Stream;
use towline_proto::native::frame::FrameError;
use towline_proto::native::message::{Answer, MessageError};
use towline_proto::native::preface::{PREFACE_BYTES, Preface, PrefaceError};
use towline_proto::sniff::SNIFF_BYTES_MAX;

use self::requests::Queue;
use self::sender::Sender;
use crate::auth::{LoginRefused, Revoked};
use crate::session::Session;

// What was sniffed is read again as part of the preface, so that afterwards the socket alone is read.
const _: () = assert!(SNIFF_BYTES_MAX <= PREFACE_BYTES);

/// Why a session ended otherwise than by the peer's leaving.
#[derive(Debug, thiserror::Error)]
pub(super) enum NativeError {
    #[error("it was given up: {0}")]
    Preface(#[from] PrefaceError),
    #[error("it was given up: {0}")]
    Frame(#[from] FrameError),
    #[error("it was given up: {0}")]
    Message(#[from] MessageError),
    #[error("it was late with the rest of a request")]
    RequestLate,
    #[error("nothing was asked for a while")]
    Idle,
    #[error("a login came without encryption, where it is not looked at")]
    LoginInTheClear,
    #[error("nobody was let in: {0}")]
    Login(LoginRefused),
    #[error(transparent)]
    Revoked(#[from] Revoked),
    #[error("the content could not be sent: {0}")]
    Send(towline_net::send_file::SendError),
    #[error("lost: {0}")]
    Io(#[from] io::Error),
}

/// Speaks until either side ends the session.
pub(super) async fn serve(stream: &mut Stream, session: &Session) {
    let peer = session.peer;
    match converse(stream, session).await {
        Ok(()) => tracing::info!("{peer}: left"),
        Err(error) => tracing::info!("{peer}: session ended: {error}"),
    }
    super::close(stream, session).await;
}

async fn converse(stream: &mut Stream, session: &Session) -> Result<(), NativeError> {
    let greeting = read_preface(stream, session).await;
    let (incoming, outgoing) = stream.split();
    let mut sender = Sender::new(outgoing, session);
    sender.queue_bytes(&Preface::OURS.encode());
    if let Err(error) = greeting {
        if let NativeError::Preface(unfit) = error
            && let Some(refusal) = refusal::of_preface(unfit)
        {
            sender.queue(&Answer::Error(refusal));
            sender.flush().await?;
        }
        return Err(error);
    }
    let (queue, queued) = Queue::new();
    tokio::try_join!(
        requests::read(incoming, queue, session),
        answer::answer_all(queued, &mut sender, session)
    )?;
    Ok(())
}

async fn read_preface(stream: &mut Stream, session: &Session) -> Result<Preface, NativeError> {
    let mut bytes = [0; PREFACE_BYTES];
    timeout(session.server.deadlines.request, stream.read_exact(&mut bytes))
        .await
        .map_err(|_| NativeError::RequestLate)??;
    Ok(Preface::decode(&bytes)?)
}
