//! What a server is told: plain values, checked by whoever made them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use towline_net::socket::Congestion;
use towline_net::tls::server::Acceptor;
use towline_store::beneath::Links;

/// Everything that [`run`](crate::run) needs besides its listening sockets.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder whose files are served.
    pub root: PathBuf,
    /// What happens to symbolic links below it.
    pub links: Links,
    /// Where hashes are remembered; `None` remembers nothing.
    pub state_dir: Option<PathBuf>,
    /// How many connections are served.
    pub limits: Limits,
    /// How long a peer may take.
    pub deadlines: Deadlines,
    /// How long transfers may go on after a shutdown was asked for.
    pub grace: Duration,
    /// Bytes handed to the kernel at once while sending.
    pub chunk_bytes: usize,
    /// How senders meet congestion.
    pub congestion: Congestion,
    /// Shakes hands with clients that encrypt. A clone of it can be given another identity while the server runs.
    pub tls: Arc<Acceptor>,
    /// Whether clients that do not encrypt are turned away.
    pub require_tls: bool,
}

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one source (an IPv4 address, or an IPv6 /64).
    pub connections_per_source: usize,
}

/// The longest time that each phase of a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From accepting a connection to the bytes that choose its face.
    pub first_bytes: Duration,
    /// From there to an agreement on the encryption.
    pub tls_handshake: Duration,
    /// From there to a whole request.
    pub request: Duration,
    /// Without a byte accepted by the peer while it is sent something.
    pub write_stall: Duration,
    /// For the peer to close after its reply.
    pub close: Duration,
    /// Between two bytes of a classic header whose MD5 is still being computed; well below the 10 s after which
    /// a client written from the document gives up.
    pub drip: Duration,
    /// For the next request in a session that has nothing to do.
    pub idle: Duration,
    /// Longest time without a sign of life to a peer that waits for an answer.
    pub heartbeat: Duration,
}

impl Config {
    /// A server of `root` with every default, remembering nothing.
    pub fn new(root: impl Into<PathBuf>, tls: Arc<Acceptor>) -> Self {
        Self {
            root: root.into(),
            links: Links::default(),
            state_dir: None,
            limits: Limits::default(),
            deadlines: Deadlines::default(),
            grace: Duration::from_secs(30),
            chunk_bytes: 1_024 * 1_024,
            congestion: Congestion::default(),
            tls,
            require_tls: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, connections_per_source: 256 }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first_bytes: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(10),
            request: Duration::from_secs(10),
            write_stall: Duration::from_mins(1),
            close: Duration::from_secs(5),
            drip: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            heartbeat: Duration::from_secs(3),
        }
    }
}
