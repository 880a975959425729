//! A proxy on real sockets that makes a connection fail at an exact byte.
//!
//! ```no_run
//! # async fn example(server: std::net::SocketAddr) {
//! use towline_testkit::chaos::{ChaosProxy, Direction::ToClient, FaultKind, Plan};
//!
//! // The first connection is cut after 1,000 bytes of the reply; those after it are sound.
//! let proxy = ChaosProxy::start(server, |connection| match connection {
//!     0 => Plan::clean().with(ToClient, 1_000, FaultKind::Cut),
//!     _ => Plan::clean(),
//! })
//! .await;
//! // ... a client downloads from `proxy.addr()` ...
//! assert_eq!(proxy.connections(), 2);
//! # }
//! ```
//!
//! What a plan does to the bytes is decided in `injector`, without sockets; `relay` carries it out.
//! An end, a half-close and a reset of either side reach the other. There is no loss or reordering
//! of packets here: TCP hides those, and what a test sees of them is a pause or a throttle.

mod injector;
mod plan;
mod relay;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use self::plan::{DUPLICATE_BYTES_MAX, Direction, Fault, FaultKind, Gate, Plan, Recording};
use self::relay::{Forwarded, relay, reset};
use crate::deadline::within;

/// Connections open at a time; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// The wait after a failed accept: it fails where descriptors are short, and would fail again at
/// once.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A proxy in front of one server. It and its connections end when it is dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    addr: SocketAddr,
    gauges: Arc<Gauges>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Gauges {
    connections: AtomicUsize,
    forwarded: Forwarded,
}

impl ChaosProxy {
    /// Listens on a free port of loopback, and carries each connection on to `upstream` under the
    /// plan that `plan` gives for its index; the first is 0. Where `upstream` refuses, the client
    /// is reset.
    pub async fn start(
        upstream: SocketAddr,
        plan: impl Fn(usize) -> Plan + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let gauges =
            Arc::new(Gauges { connections: AtomicUsize::new(0), forwarded: Forwarded::new() });
        let task = tokio::spawn(serve(listener, upstream, plan, Arc::clone(&gauges)));
        Self { addr, gauges, task }
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.gauges.connections.load(Ordering::SeqCst)
    }

    /// How many bytes were sent on in `direction` so far, over all connections; repeated ones count
    /// again.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        *self.gauges.forwarded.counter(direction).borrow()
    }

    /// Waits until at least `bytes` were sent on in `direction`; returns how many were.
    ///
    /// # Panics
    /// After [`WAIT_MAX`](crate::deadline::WAIT_MAX).
    pub async fn wait_forwarded(&self, direction: Direction, bytes: u64) -> u64 {
        let mut counter = self.gauges.forwarded.counter(direction).subscribe();
        let awaited = format!("{bytes} bytes {direction:?}");
        let count = within(&awaited, counter.wait_for(|count| *count >= bytes)).await;
        *count.expect("the proxy holds the counter")
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts until it is aborted; the connections are aborted with it.
async fn serve(
    listener: TcpListener,
    upstream: SocketAddr,
    plan: impl Fn(usize) -> Plan,
    gauges: Arc<Gauges>,
) {
    let mut live = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if live.len() < CONNECTIONS_MAX => match accepted {
                Ok((client, _)) => {
                    let plan = plan(gauges.connections.fetch_add(1, Ordering::SeqCst));
                    live.spawn(connect_and_relay(client, upstream, plan, Arc::clone(&gauges)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            },
            Some(_) = live.join_next() => {}
        }
    }
}

async fn connect_and_relay(
    client: TcpStream,
    upstream: SocketAddr,
    plan: Plan,
    gauges: Arc<Gauges>,
) {
    match TcpStream::connect(upstream).await {
        Ok(server) => {
            for stream in [&client, &server] {
                // A fault at byte N is seen by the peer as soon as it strikes, not with the next
                // segment.
                let _ = stream.set_nodelay(true);
            }
            relay(client, server, &plan, &gauges.forwarded).await;
        }
        Err(_) => reset(client),
    }
}
