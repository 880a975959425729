//! Signs of life, while a request takes long.

use std::future::Future;

use tokio::time::sleep_until;
use towline_proto::native::message::Answer;

use super::NativeError;
use super::sender::Sender;
use crate::session::Session;

/// Waits for some work, sending a heartbeat whenever the peer has not heard from us for a while.
pub(super) async fn with_heartbeats<T>(
    work: impl Future<Output = T>,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<T, NativeError> {
    let mut work = std::pin::pin!(work);
    loop {
        let due = sender.last_sent() + session.server.deadlines.heartbeat;
        tokio::select! {
            // Many short pieces of work without a byte are a long silence too.
            biased;
            () = sleep_until(due) => {
                sender.queue(&Answer::Heartbeat);
                sender.flush().await?;
            }
            done = &mut work => return Ok(done),
        }
    }
}
