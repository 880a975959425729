//! Starting a server, and ending it: stop accepting, drain, cut.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use towline_net::listen::raise_descriptor_limit;
use towline_net::socket::{Congestion, LONG_PATH_ALGORITHM, check_available};
use towline_store::beneath::Links;

use crate::accept::accept;
use crate::auth::{Access, Terms};
use crate::config::{Config, Served};
use crate::records::Event;
use crate::server::{Server, StartError};
use crate::shares::Shares;
use crate::shutdown::Shutdown;
use crate::watch::expose;

/// How often a draining server says what it still waits for.
const REMINDER_INTERVAL: Duration = Duration::from_secs(5);

/// Descriptors that are not connections': listeners, the log, the hash store, the runtime's own.
const OWN_DESCRIPTORS: u64 = 64;

/// Serves the connections of `listeners` until `shutdown` has been asked for and everything has ended.
pub async fn run(
    listeners: Vec<TcpListener>,
    config: Config,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    Handle::new(&config, shutdown)?.serve(listeners).await;
    Ok(())
}

/// A server from outside, to change it while it serves. Clones are the same server.
#[derive(Clone)]
pub struct Handle {
    server: Arc<Server>,
    grace: Duration,
}

impl Handle {
    /// A server that is ready to serve.
    pub fn new(config: &Config, shutdown: Shutdown) -> Result<Self, StartError> {
        warn_of_few_descriptors(raise_descriptor_limit(), config.limits.connections);
        check_congestion_control(&config.congestion)?;
        Ok(Self { server: Arc::new(Server::new(config, shutdown)?), grace: config.grace })
    }

    /// Whether connections are accepted or, once the server drains, whether its tasks still run. Waits for their
    /// answers.
    pub async fn is_alive(&self) -> bool {
        self.server.is_alive().await
    }

    /// Serves until the shutdown has been asked for and everything has ended.
    pub async fn serve(&self, listeners: Vec<TcpListener>) {
        self.note(&Event::Started);
        let connections = TaskTracker::new();
        let accepting = TaskTracker::new();
        for listener in listeners {
            accepting.spawn(accept(listener, Arc::clone(&self.server), connections.clone()));
        }
        accepting.close();
        let serving = async {
            accepting.wait().await;
            connections.close();
            drain(&self.server, &connections, self.grace).await;
        };
        tokio::select! {
            () = serving => {}
            () = self.server.rates.drive() => {}
        }
        self.server.service.close();
        self.note(&Event::Ended);
        // Others may still have the server when the process ends: whoever reads the configuration again, for one.
        let server = Arc::clone(&self.server);
        let _ = spawn_blocking(move || server.records.flush()).await;
    }

    /// Tells whoever asks at `listener` how the server is, and for how much it was asked. Ends when it is dropped.
    pub async fn expose(&self, listener: TcpListener) {
        expose(listener, Arc::clone(&self.server)).await;
    }

    /// Goes on in the log files that have the configured paths now.
    pub fn reopen_records(&self) {
        self.server.records.reopen();
    }

    /// Adds an entry to the audit record.
    pub fn note(&self, event: &Event<'_>) {
        self.server.records.note(event);
    }

    /// From now on this holds: what is served and to whom, over which faces, within which limits and rates. Where a
    /// share cannot be opened, everything stays as it was. The rest of a configuration holds from start to end.
    pub fn replace(&self, config: &Config) -> Result<(), StartError> {
        let shares = Arc::new(Shares::open(&config.served, config.links)?);
        let server = &self.server;
        let terms = Terms { shares, access: Arc::clone(&config.access) };
        server.gate.replace(|_| terms.clone());
        server.faces.store(Arc::new(config.faces));
        server.admission.replace(config.limits);
        server.handshakes.replace(config.limits.handshakes);
        server.requests.replace(config.limits.requests_per_s_per_source);
        server.rates.replace(&config.caps);
        Ok(())
    }

    /// Opens what is served anew, so that names lead to what is there now. What is open stays open; where one cannot
    /// be opened, everything stays as it was.
    pub fn replace_shares(&self, served: &Served, links: Links) -> Result<(), StartError> {
        let shares = Arc::new(Shares::open(served, links)?);
        self.server.gate.replace(|now| Terms { shares: Arc::clone(&shares), ..now.clone() });
        Ok(())
    }

    /// From now on these rules hold for these users, in sessions that are open as well.
    pub fn replace_access(&self, access: &Arc<Access>) {
        self.server.gate.replace(|now| Terms { access: Arc::clone(access), ..now.clone() });
    }
}

/// Lets transfers go on for `grace`, saying which they are; then cuts them.
async fn drain(server: &Server, connections: &TaskTracker, grace: Duration) {
    tracing::info!("shutting down: no new connections are taken");
    let finished = tokio::select! {
        finished = timeout(grace, connections.wait()) => finished.is_ok(),
        never = remind(server) => match never {},
    };
    if !finished {
        tracing::warn!("the grace of {grace:?} is over");
        server.shutdown.cut();
        connections.wait().await;
    }
    tracing::info!("all connections are closed");
}

/// Says again and again what is waited for.
async fn remind(server: &Server) -> Infallible {
    loop {
        let waiting_for = server.transfers.describe();
        if !waiting_for.is_empty() {
            let count = waiting_for.len();
            tracing::info!("waiting for {count} transfers: {}", waiting_for.join(", "));
        }
        sleep(REMINDER_INTERVAL).await;
    }
}

/// Refuses an algorithm that cannot be used, and says what long paths lack.
fn check_congestion_control(congestion: &Congestion) -> Result<(), StartError> {
    match congestion {
        Congestion::System => {}
        Congestion::Named(algorithm) => check_available(algorithm)
            .map_err(|reason| StartError::Congestion { algorithm: algorithm.clone(), reason })?,
        Congestion::Auto => {
            if let Err(reason) = check_available(LONG_PATH_ALGORITHM) {
                tracing::info!(
                    "long lossy paths will be slow: no congestion control {LONG_PATH_ALGORITHM}: {reason}"
                );
            }
        }
    }
    Ok(())
}

/// Says so early when the system allows fewer open files than the connections need.
fn warn_of_few_descriptors(limit: Option<u64>, connections_max: usize) {
    // Each connection may have its socket and a file.
    let needed = 2 * connections_max as u64 + OWN_DESCRIPTORS;
    if let Some(limit) = limit.filter(|&limit| limit < needed) {
        let room = limit.saturating_sub(OWN_DESCRIPTORS) / 2;
        tracing::warn!(
            "the limit of {limit} open files allows some {room} connections with transfers, fewer than \
             the {connections_max} configured; raise it (ulimit -n) to serve them all"
        );
    }
}
