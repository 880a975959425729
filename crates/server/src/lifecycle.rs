//! Starting a server, and ending it: stop accepting, drain, cut.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towline_net::listen::raise_descriptor_limit;
use towline_net::socket::{Congestion, LONG_PATH_ALGORITHM, Unavailable, check_available};
use towline_net::tls::server::Acceptor;
use towline_store::digester::Digester;
use towline_store::hash_store::HashStore;
use towline_store::local::LocalRoot;
use towline_store::piece_hashes::PieceHashes;

use crate::accept::accept;
use crate::admission::Admission;
use crate::config::{Config, Deadlines};
use crate::service::Service;
use crate::transfers::Transfers;

/// How often a draining server says what it still waits for.
const REMINDER_INTERVAL: Duration = Duration::from_secs(5);

/// Descriptors that are not connections': listeners, the log, the hash store, the runtime's own.
const OWN_DESCRIPTORS: u64 = 64;

/// The parts that all connections of a server share.
pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) admission: Admission,
    pub(crate) transfers: Transfers,
    pub(crate) deadlines: Deadlines,
    pub(crate) chunk_bytes: usize,
    pub(crate) congestion: Congestion,
    pub(crate) tls: Arc<Acceptor>,
    pub(crate) require_tls: bool,
    pub(crate) shutdown: Shutdown,
}

/// Ends a server from outside: first politely, then at once. Clones act on the same server.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    cut: CancellationToken,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be opened.
    #[error("cannot serve {}: {source}", path.display())]
    Root {
        /// The folder to be served.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The congestion control that was asked for is not to be had.
    #[error("cannot use the congestion control {algorithm}: {reason}")]
    Congestion {
        /// As the kernel calls it.
        algorithm: String,
        /// What the kernel says.
        reason: Unavailable,
    },
}

impl Shutdown {
    /// Stops accepting; transfers under way may go on for the server's grace.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends transfers under way as well.
    pub fn cut(&self) {
        self.drain.cancel();
        self.cut.cancel();
    }

    pub(crate) async fn draining(&self) {
        self.drain.cancelled().await;
    }

    pub(crate) async fn cutting(&self) {
        self.cut.cancelled().await;
    }

    /// The outcome of `step`, unless draining begins first.
    pub(crate) async fn unless_draining<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        self.drain.run_until_cancelled(step).await
    }
}

/// Serves the connections of `listeners` until `shutdown` has been asked for and everything has ended.
pub async fn run(
    listeners: Vec<TcpListener>,
    config: Config,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    warn_of_few_descriptors(raise_descriptor_limit(), config.limits.connections);
    check_congestion_control(&config.congestion)?;
    let server = Arc::new(Server::new(&config, shutdown)?);
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&server), connections.clone()));
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    drain(&server, &connections, config.grace).await;
    server.service.close();
    Ok(())
}

impl Server {
    fn new(config: &Config, shutdown: Shutdown) -> Result<Self, StartError> {
        let root = LocalRoot::open(&config.root, config.links)
            .map_err(|source| StartError::Root { path: config.root.clone(), source })?;
        let hash_store = config.state_dir.as_deref().and_then(|state_dir| {
            HashStore::open(state_dir)
                .inspect_err(|error| tracing::warn!("serving without remembered hashes: {error}"))
                .ok()
                .map(Arc::new)
        });
        let workers = available_parallelism().map_or(1, usize::from);
        let piece_hashes = PieceHashes::new(hash_store.clone());
        let digester = Digester::new(hash_store, workers);
        Ok(Self {
            service: Service::new(root, digester, piece_hashes),
            admission: Admission::new(config.limits),
            transfers: Transfers::default(),
            deadlines: config.deadlines,
            chunk_bytes: config.chunk_bytes,
            congestion: config.congestion.clone(),
            tls: Arc::clone(&config.tls),
            require_tls: config.require_tls,
            shutdown,
        })
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
