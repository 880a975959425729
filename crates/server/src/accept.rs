//! Taking connections from the listening sockets, and nothing else: whatever can wait for a peer happens in
//! the connection's own task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use towline_net::source::{Source, canonical};

use crate::admission::Full;
use crate::connection;
use crate::server::Server;
use crate::session::Session;

/// How long accepting rests when the process or the system has run out of something.
const EXHAUSTED_REST: Duration = Duration::from_millis(100);

/// Shortest time between two log lines about connections that were turned away.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Accepts until the server drains.
pub(crate) async fn accept(listener: TcpListener, server: Arc<Server>, connections: TaskTracker) {
    let mut answers = server.pulse.join();
    let mut was_exhausted = false;
    let mut turned_away = TurnedAway::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.shutdown.draining() => return,
            never = answers.give() => match never {},
        };
        match accepted {
            Ok((stream, peer)) => {
                was_exhausted = false;
                if let Err(full) = admit(stream, canonical(peer), &server, &connections) {
                    server.metrics.count_limit(full.into());
                    turned_away.note(canonical(peer), full);
                }
            }
            Err(error) if concerns_one_connection(&error) => {
                tracing::debug!("a connection ended before it was accepted: {error}");
            }
            Err(error) => {
                // Said once, not ten times a second, for as long as it lasts.
                if !was_exhausted {
                    tracing::error!("cannot accept connections for now: {error}");
                }
                was_exhausted = true;
                sleep(EXHAUSTED_REST).await;
            }
        }
    }
}

/// Gives the connection its task, or closes it without a byte, which clients take as "try again".
fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    server: &Arc<Server>,
    connections: &TaskTracker,
) -> Result<(), Full> {
    let ticket = server.admission.admit(Source::of(peer))?;
    server.metrics.count_connection();
    let session = Session::new(peer, Arc::clone(server));
    connections.spawn(async move {
        connection::run(stream, session).await;
        drop(ticket);
    });
    Ok(())
}

/// Says who was turned away, but not so often that a flood of them fills the log.
#[derive(Default)]
struct TurnedAway {
    said: Option<Instant>,
    unsaid: u64,
}

impl TurnedAway {
    fn note(&mut self, peer: SocketAddr, full: Full) {
        if self.said.is_some_and(|said| said.elapsed() < COMPLAINT_INTERVAL) {
            self.unsaid += 1;
            return;
        }
        match std::mem::take(&mut self.unsaid) {
            0 => tracing::warn!("{peer}: turned away: {full}"),
            more => tracing::warn!("{peer}: turned away, and {more} before it: {full}"),
        }
        self.said = Some(Instant::now());
    }
}

/// Whether an error of `accept` is of the connection that was to be accepted (accept(2), "Error handling"),
/// and not of the socket or the process.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::PERM
        )
    )
}

#[cfg(test)]
mod tests {
    use super::concerns_one_connection;
    use rustix::io::Errno;

    #[test]
    fn running_out_of_descriptors_is_told_from_a_lost_connection() {
        assert!(concerns_one_connection(&Errno::CONNABORTED.into()));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!concerns_one_connection(&errno.into()), "{errno}");
        }
    }
}
