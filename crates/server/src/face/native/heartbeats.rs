//! Signs of life, while a request takes long.

use std::future::Future;

use tokio::time::sleep_until;
use towline_proto::native::message::Answer;

use super::NativeError;
use super::sender::Sender;
use crate::session::Session;

/// Waits for some work, sending a heartbeat whenever the peer has not heard from us for a while. The work goes on also
/// while the peer takes none: a place that is granted then is used, and not held for nothing.
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
                let mut flushing = std::pin::pin!(sender.flush());
                tokio::select! {
                    flushed = &mut flushing => flushed?,
                    done = &mut work => {
                        flushing.await?;
                        return Ok(done);
                    }
                }
            }
            done = &mut work => return Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use towline_net::stream::Stream;

    use super::super::testing::{connected, session};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_while_the_peer_takes_no_heartbeat() {
        let (session, _folder) = session();
        let (near, far) = connected().await;
        let mut near = Stream::plain(near);
        let mut sender = Sender::new(near.split().1, &session);
        // More than the buffers of two sockets hold.
        sender.queue_bytes(&vec![0; 64 << 20]);
        let is_done = AtomicBool::new(false);
        let work = async {
            // The heartbeat is on its way, and the peer takes nothing.
            far.peek(&mut [0]).await.unwrap();
            is_done.store(true, Ordering::Relaxed);
        };
        let sent = with_heartbeats(work, &mut sender, &session).await;
        assert!(matches!(sent, Err(NativeError::Io(_))), "{sent:?}");
        assert!(is_done.into_inner());
    }
}
