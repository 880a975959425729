//! What all connections of a server share.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use arc_swap::ArcSwap;
use towline_net::socket::{Congestion, Unavailable};
use towline_net::tls::server::Acceptor;
use towline_proto::escape::EscapedPath;
use towline_store::hash_store::HashStore;

use crate::admission::Admission;
use crate::auth::{Gate, Terms};
use crate::budgets::Budgets;
use crate::config::{Config, Deadlines, Faces};
use crate::handshakes::Handshakes;
use crate::metrics::{Gauges, Metrics};
use crate::pulse::Pulse;
use crate::rates::{Rates, RequestRate};
use crate::records::Records;
use crate::service::Service;
use crate::shares::{ShareError, Shares};
use crate::shutdown::Shutdown;
use crate::transfers::Transfers;

/// The parts that all connections of a server share.
pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) admission: Admission,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) transfers: Transfers,
    pub(crate) deadlines: Deadlines,
    pub(crate) chunk_bytes: usize,
    pub(crate) congestion: Congestion,
    pub(crate) tls: Arc<Acceptor>,
    pub(crate) faces: ArcSwap<Faces>,
    pub(crate) gate: Gate,
    pub(crate) rates: Rates,
    pub(crate) requests: RequestRate,
    pub(crate) handshakes: Handshakes,
    pub(crate) pulse: Pulse,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) records: Arc<Records>,
    pub(crate) shutdown: Shutdown,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be opened.
    #[error("cannot serve {}: {source}", EscapedPath(path))]
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
    /// No thread for the logs.
    #[error("cannot begin to log: {0}")]
    Records(io::Error),
}

impl From<ShareError> for StartError {
    fn from(ShareError { path, source }: ShareError) -> Self {
        Self::Root { path, source }
    }
}

impl Server {
    /// See [`Handle::is_alive`](crate::Handle::is_alive).
    pub(crate) async fn is_alive(&self) -> bool {
        if self.shutdown.is_draining() {
            return tokio::spawn(async {}).await.is_ok();
        }
        // Accept loops end where the server begins to drain meanwhile.
        self.pulse.is_felt().await || self.shutdown.is_draining()
    }

    pub(crate) fn new(config: &Config, shutdown: Shutdown) -> Result<Self, StartError> {
        let shares = Arc::new(Shares::open(&config.served, config.links)?);
        let terms = Terms { shares, access: Arc::clone(&config.access) };
        let hash_store = config.state_dir.as_deref().and_then(|state_dir| {
            HashStore::open(state_dir)
                .inspect_err(|error| tracing::warn!("serving without remembered hashes: {error}"))
                .ok()
                .map(Arc::new)
        });
        let workers = available_parallelism().map_or(1, usize::from);
        let metrics = Arc::new(Metrics::new());
        let budgets = Arc::new(Budgets::new(workers, &metrics));
        let records = Arc::new(Records::open(&config.records).map_err(StartError::Records)?);
        Ok(Self {
            service: Service::new(hash_store, workers, Arc::clone(&budgets), Arc::clone(&metrics)),
            admission: Admission::new(config.limits),
            budgets,
            transfers: Transfers::default(),
            deadlines: config.deadlines,
            chunk_bytes: config.chunk_bytes,
            congestion: config.congestion.clone(),
            tls: Arc::clone(&config.tls),
            faces: ArcSwap::from_pointee(config.faces),
            gate: Gate::new(terms, Arc::clone(&records)),
            rates: Rates::new(&config.caps),
            requests: RequestRate::new(config.limits.requests_per_s_per_source),
            handshakes: Handshakes::new(config.limits.handshakes),
            pulse: Pulse::default(),
            metrics,
            records,
            shutdown,
        })
    }

    /// What monitoring looks up.
    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            connections_open: self.admission.open(),
            transfers_open: self.transfers.count(),
            waiting_for_rate: self.rates.waiting(),
            md5s: self.service.md5s(),
            lines_dropped: self.records.dropped(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::credentials::CredentialsError;

    #[test]
    fn paths_are_defused_in_what_a_server_says_of_its_own_files() {
        let path = || PathBuf::from("/srv/\u{1b}[31m\n\u{202e}");
        let source = || io::Error::from(io::ErrorKind::NotFound);
        let reason = String::new();
        for said in [
            StartError::Root { path: path(), source: source() }.to_string(),
            CredentialsError::Io { doing: "read", path: path(), source: source() }.to_string(),
            CredentialsError::Lax { path: path(), mode: 0o644 }.to_string(),
            CredentialsError::Malformed { path: path(), reason }.to_string(),
        ] {
            assert!(said.contains(r"/srv/\u{1b}[31m\n\u{202e}"), "{said}");
        }
    }
}
