//! What monitoring sees, by Prometheus' names. Counters count where things happen; what can be looked up is looked up
//! when somebody asks. No label holds a path, a user or an address: their number has no bound.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use towline_store::digester::Md5Counts;

use crate::admission::Full;
use crate::auth::LoginRefused;
use crate::records::{ProofKind, RequestRecord, face_name};

/// Seconds that requests take: from what a warm cache answers to an hour's transfer.
const SECONDS_BUCKETS: [f64; 11] =
    [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 900.0, 3_600.0];

/// A label with its value.
type Label = (&'static str, &'static str);

/// All counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<[Label; 4], Counter>,
    request_seconds: Family<[Label; 1], Histogram>,
    sent: Counter,
    connections: Counter,
    connections_open: Gauge,
    connections_unserved: Family<[Label; 1], Counter>,
    handshakes: Counter,
    transfers_open: Gauge,
    waiting_for_rate: Gauge,
    logins: Family<[Label; 2], Counter>,
    limits_hit: Family<[Label; 1], Counter>,
    hashes: Family<[Label; 2], Counter>,
    lines_dropped: Family<[Label; 1], Counter>,
}

/// What can be looked up at any time.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) connections_open: usize,
    pub(crate) transfers_open: usize,
    pub(crate) waiting_for_rate: usize,
    pub(crate) md5s: Md5Counts,
    /// Lines that are missing in each log.
    pub(crate) lines_dropped: [(&'static str, u64); 2],
}

/// A bound that held somebody back, or turned them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    ConnectionsOfSource,
    Handshakes,
    Requests,
    Logins,
    Hashing,
    Walks,
    StandingWalks,
    SmallFiles,
}

/// Where a hash came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashSource {
    Known,
    Computed,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("towline"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS_BUCKETS)),
            sent: Counter::default(),
            connections: Counter::default(),
            connections_open: Gauge::default(),
            connections_unserved: Family::default(),
            handshakes: Counter::default(),
            transfers_open: Gauge::default(),
            waiting_for_rate: Gauge::default(),
            logins: Family::default(),
            limits_hit: Family::default(),
            hashes: Family::default(),
            lines_dropped: Family::default(),
        };
        this.register();
        this
    }

    fn register(&mut self) {
        let all = &mut self.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The program", version);
        all.register("requests", "Requests that are over", self.requests.clone());
        let help = "Time from a request to the end of its answer";
        let seconds = self.request_seconds.clone();
        all.register_with_unit("request_duration", help, Unit::Seconds, seconds);
        let help = "Content that was handed to the network";
        all.register_with_unit("sent", help, Unit::Bytes, self.sent.clone());
        all.register("connections", "Connections accepted", self.connections.clone());
        all.register("connections_open", "Connections now", self.connections_open.clone());
        let help = "Connections that ended before they asked for anything";
        all.register("connections_unserved", help, self.connections_unserved.clone());
        all.register("handshakes", "TLS handshakes completed", self.handshakes.clone());
        all.register("transfers_open", "Transfers now", self.transfers_open.clone());
        let help = "Senders that wait now because of a rate";
        all.register("waiting_for_rate", help, self.waiting_for_rate.clone());
        all.register("logins", "Proofs of who somebody is", self.logins.clone());
        let help = "How often a bound held somebody back or turned them away";
        all.register("limits_hit", help, self.limits_hit.clone());
        all.register("hashes", "Hashes that were needed", self.hashes.clone());
        let help = "Lines that could not be written";
        all.register("log_lines_dropped", help, self.lines_dropped.clone());
    }

    pub(crate) fn count_request(&self, record: &RequestRecord<'_>) {
        let operation = ("operation", record.asked.operation.as_str());
        let labels = [
            ("face", face_name(record.asked.face)),
            ("encrypted", if record.is_encrypted { "true" } else { "false" }),
            operation,
            ("outcome", record.outcome.as_str()),
        ];
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.get_or_create(&[operation]).observe(record.took.as_secs_f64());
    }

    pub(crate) fn count_sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    pub(crate) fn count_connection(&self) {
        self.connections.inc();
    }

    pub(crate) fn count_unserved(&self, reason: &'static str) {
        self.connections_unserved.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn count_handshake(&self) {
        self.handshakes.inc();
    }

    pub(crate) fn count_login(&self, by: ProofKind, outcome: Result<(), LoginRefused>) {
        let outcome = match outcome {
            Ok(()) => "let-in",
            Err(LoginRefused::Wrong) => "wrong",
            Err(LoginRefused::TooManyFailures) => "too-many",
            Err(LoginRefused::Busy) => "busy",
            Err(LoginRefused::Revoked(_)) => "revoked",
        };
        self.logins.get_or_create(&[("by", by.as_str()), ("outcome", outcome)]).inc();
    }

    pub(crate) fn count_limit(&self, limit: Limit) {
        self.limit(limit).inc();
    }

    /// What counts how often a limit was hit; it is there from then on, with a zero too.
    pub(crate) fn limit(&self, limit: Limit) -> Counter {
        self.limits_hit.get_or_create_owned(&[("limit", limit.as_str())])
    }

    pub(crate) fn count_piece_hash(&self, source: HashSource) {
        self.hashes_of("piece", source).inc();
    }

    fn hashes_of(&self, kind: &'static str, source: HashSource) -> Counter {
        let source = match source {
            HashSource::Known => "known",
            HashSource::Computed => "computed",
        };
        self.hashes.get_or_create_owned(&[("kind", kind), ("source", source)])
    }

    /// Everything, as `OpenMetrics` has it in text.
    pub(crate) fn scrape(&self, looked_up: &Gauges) -> Result<String, fmt::Error> {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.connections_open.set(gauge(looked_up.connections_open));
        self.transfers_open.set(gauge(looked_up.transfers_open));
        self.waiting_for_rate.set(gauge(looked_up.waiting_for_rate));
        let Md5Counts { known, computed } = looked_up.md5s;
        for (source, count) in [(HashSource::Known, known), (HashSource::Computed, computed)] {
            self.hashes_of("md5", source).inner().store(count, Ordering::Relaxed);
        }
        for (log, dropped) in looked_up.lines_dropped {
            let counter = self.lines_dropped.get_or_create_owned(&[("log", log)]);
            counter.inner().store(dropped, Ordering::Relaxed);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Limit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsOfSource => "connections-of-source",
            Self::Handshakes => "handshakes",
            Self::Requests => "requests",
            Self::Logins => "logins",
            Self::Hashing => "hashing",
            Self::Walks => "walks",
            Self::StandingWalks => "standing-walks",
            Self::SmallFiles => "small-files",
        }
    }
}

impl From<Full> for Limit {
    fn from(full: Full) -> Self {
        match full {
            Full::Total(_) => Self::Connections,
            Full::Source(_) => Self::ConnectionsOfSource,
        }
    }
}
