//! What a server is told: plain values, checked by whoever made them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use towline_net::socket::Congestion;
use towline_net::tls::server::Acceptor;
use towline_proto::name::RemoteName;
use towline_proto::sniff::Face;
use towline_store::beneath::Links;

use crate::auth::Access;
use crate::rates::Caps;
use crate::records::RecordsConfig;

/// Everything that [`run`](crate::run) needs besides its listening sockets.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is served.
    pub served: Served,
    /// What happens to symbolic links below it.
    pub links: Links,
    /// Which protocols are spoken.
    pub faces: Faces,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Where hashes are remembered; `None` remembers nothing.
    pub state_dir: Option<PathBuf>,
    /// Where requests and decisions are written down.
    pub records: RecordsConfig,
    /// How many connections are served.
    pub limits: Limits,
    /// How fast whom is sent what.
    pub caps: Caps,
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
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// The content of one folder.
    Folder(PathBuf),
    /// Several folders, each below its name.
    Shares(Vec<Share>),
}

/// A folder with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The first component of every path in it; it has no other.
    pub name: RemoteName,
    /// The folder.
    pub path: PathBuf,
}

/// Which protocols are spoken to whom. The native protocol inside TLS always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faces {
    /// The classic protocol, which knows no encryption.
    pub classic: bool,
    /// The native protocol without encryption.
    pub native_plain: bool,
}

impl Faces {
    /// None that does without encryption.
    pub const ENCRYPTED: Self = Self { classic: false, native_plain: false };

    /// All of them.
    pub const ALL: Self = Self { classic: true, native_plain: true };

    /// Whether one is spoken without encryption.
    pub(crate) fn in_the_clear(self, face: Face) -> bool {
        match face {
            Face::Classic => self.classic,
            Face::Native => self.native_plain,
            Face::Tls | Face::Http => false,
        }
    }
}

/// Bounds on connections, and on what they ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one source (an IPv4 address, or an IPv6 /64).
    pub connections_per_source: usize,
    /// Handshakes of TLS at once; where one more comes, the oldest of the source that has the most is closed.
    pub handshakes: usize,
    /// Requests per second of one source; more are answered later, or told to come again where that would take long.
    pub requests_per_s_per_source: u64,
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
    /// For a proof of who somebody is to have its turn among those from its source.
    pub login_turn: Duration,
    /// Without a byte accepted by the peer while it is sent something.
    pub write_stall: Duration,
    /// For the peer to close after its reply.
    pub close: Duration,
    /// Between two bytes of a classic header whose MD5 is still being computed; well below the 10 s after which a
    /// client of the original classic system gives up.
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
            served: Served::Folder(root.into()),
            links: Links::default(),
            faces: Faces::ALL,
            access: Arc::new(Access::open()),
            state_dir: None,
            records: RecordsConfig::default(),
            limits: Limits::default(),
            caps: Caps::default(),
            deadlines: Deadlines::default(),
            grace: Duration::from_secs(30),
            chunk_bytes: 1_024 * 1_024,
            congestion: Congestion::default(),
            tls,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 256,
            handshakes: 2_000,
            requests_per_s_per_source: 2_000,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first_bytes: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(10),
            request: Duration::from_secs(10),
            login_turn: Duration::from_secs(20),
            write_stall: Duration::from_mins(1),
            close: Duration::from_secs(5),
            drip: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            heartbeat: Duration::from_secs(3),
        }
    }
}
