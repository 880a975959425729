//! A peer that sends exact bytes and expects exact bytes, as a server or as a client.
//!
//! It knows no protocol, so that it can break one at will: a server that lies about a size, a
//! client that stops in the middle of a header.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use towline_testkit::script::{Script, ScriptServer};
//!
//! let request = Script::new().expect(b"\0\0\0\x05a.txt");
//! let server = ScriptServer::start(vec![
//!     request.clone().send(b"OK\0\0").reset(),
//!     request.send(b"ERRORno such file"),
//! ])
//! .await;
//! // ... a client asks `server.addr()` twice ...
//! server.finish().await?;
//! # Ok(())
//! # }
//! ```

mod failure;
mod peer;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

pub use self::failure::{Difference, Failure, ScriptError};
use crate::deadline::WAIT_MAX;

/// The most bytes that a connection of a script keeps of what comes; more fail it.
pub const RECEIVED_BYTES_MAX: usize = 64 << 20;

/// The bytes after which [`Script::send_endless`] gives up on a peer that closes.
pub const ENDLESS_BYTES_MAX: u64 = 256 << 20;

/// What one connection does, step by step; then it closes.
///
/// Closing with bytes unread resets the connection, as with every socket;
/// [`read_to_end`](Self::read_to_end) as the last step avoids it.
#[derive(Debug, Clone)]
pub struct Script {
    steps: Vec<Step>,
    deadline: Duration,
}

#[derive(Debug, Clone)]
enum Step {
    Expect(Vec<u8>),
    ExpectAny(usize),
    Send(Vec<u8>),
    SendEndless(Vec<u8>),
    SendSlowly { bytes: Vec<u8>, every: Duration },
    ShutdownWrite,
    ReadToEnd,
    Hold,
    Reset,
}

impl Script {
    /// A script without steps, each of which may take [`WAIT_MAX`].
    pub fn new() -> Self {
        Self { steps: Vec::new(), deadline: WAIT_MAX }
    }

    /// Lets every step take `deadline` at most; a slow send its own time on top.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Receives as many bytes as these, and fails at the first that differs.
    #[must_use]
    pub fn expect(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Expect(bytes.into()))
    }

    /// Receives `length` bytes, whatever they are.
    #[must_use]
    pub fn expect_any(self, length: usize) -> Self {
        self.then(Step::ExpectAny(length))
    }

    /// Sends these bytes.
    #[must_use]
    pub fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Sends these bytes again and again until the peer closes; fails where it takes
    /// [`ENDLESS_BYTES_MAX`] and does not.
    #[must_use]
    pub fn send_endless(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::SendEndless(bytes.into()))
    }

    /// Sends these bytes one at a time, with a wait after each. A peer that closes meanwhile ends
    /// the step.
    #[must_use]
    pub fn send_slowly(self, bytes: impl Into<Vec<u8>>, every: Duration) -> Self {
        self.then(Step::SendSlowly { bytes: bytes.into(), every })
    }

    /// Closes the writing side: the peer reads an end, and may go on sending.
    #[must_use]
    pub fn shutdown_write(self) -> Self {
        self.then(Step::ShutdownWrite)
    }

    /// Receives until the peer closes its writing side; a reset fails.
    #[must_use]
    pub fn read_to_end(self) -> Self {
        self.then(Step::ReadToEnd)
    }

    /// Says nothing until the peer closes or resets the connection.
    #[must_use]
    pub fn hold(self) -> Self {
        self.then(Step::Hold)
    }

    /// Makes the close that follows the last step a reset.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expect(bytes) => write!(out, "expect {} bytes", bytes.len()),
            Self::ExpectAny(length) => write!(out, "expect any {length} bytes"),
            Self::Send(bytes) => write!(out, "send {} bytes", bytes.len()),
            Self::SendEndless(bytes) => write!(out, "send {} bytes without end", bytes.len()),
            Self::SendSlowly { bytes, every } => {
                write!(out, "send {} bytes, one every {every:?}", bytes.len())
            }
            Self::ShutdownWrite => write!(out, "close the writing side"),
            Self::ReadToEnd => write!(out, "read to the end"),
            Self::Hold => write!(out, "hold until the peer closes"),
            Self::Reset => write!(out, "reset"),
        }
    }
}

/// Connects to `addr` and runs `script`; returns all bytes that came.
pub async fn run_client(addr: SocketAddr, script: Script) -> Result<Vec<u8>, ScriptError> {
    let failure = match timeout(script.deadline, TcpStream::connect(addr)).await {
        Ok(Ok(stream)) => return peer::run(script, stream, 0).await,
        Ok(Err(error)) => Failure::Io(error),
        Err(_) => Failure::Late(script.deadline),
    };
    Err(unconnected(0, format!("connect to {addr}"), failure))
}

/// A server that gives each connection its script. It and its connections end when it is dropped.
#[derive(Debug)]
pub struct ScriptServer {
    addr: SocketAddr,
    finishing: Arc<Notify>,
    task: JoinHandle<Result<Vec<Vec<u8>>, ScriptError>>,
}

impl ScriptServer {
    /// Listens on a free port of loopback, and runs the first of `scripts` on the first connection,
    /// and so on, side by side. After the last one connections are refused.
    pub async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let finishing = Arc::new(Notify::new());
        let task = tokio::spawn(serve(listener, scripts, Arc::clone(&finishing)));
        Self { addr, finishing, task }
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until every script has run; returns all bytes that came, by connection.
    ///
    /// The first failure ends the wait. From this call on, the connections that have not come have
    /// [`WAIT_MAX`] to do so.
    pub async fn finish(mut self) -> Result<Vec<Vec<u8>>, ScriptError> {
        self.finishing.notify_one();
        (&mut self.task).await.expect("the scripts neither panic nor are aborted")
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    scripts: Vec<Script>,
    finishing: Arc<Notify>,
) -> Result<Vec<Vec<u8>>, ScriptError> {
    let mut received = vec![Vec::new(); scripts.len()];
    let mut peers = JoinSet::new();
    let mut overdue = pin!(async {
        finishing.notified().await;
        sleep(WAIT_MAX).await;
    });
    for (connection, script) in scripts.into_iter().enumerate() {
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted.map_err(Failure::Io),
                () = &mut overdue => break Err(Failure::Late(WAIT_MAX)),
                // A failure is told at once: the client may well not come again after it.
                Some(ended) = peers.join_next() => keep(ended, &mut received)?,
            }
        };
        let (stream, _) = accepted
            .map_err(|failure| unconnected(connection, "wait for a client".into(), failure))?;
        peers.spawn(async move {
            peer::run(script, stream, connection).await.map(|bytes| (connection, bytes))
        });
    }
    drop(listener);
    while let Some(ended) = peers.join_next().await {
        keep(ended, &mut received)?;
    }
    Ok(received)
}

type Ended = Result<Result<(usize, Vec<u8>), ScriptError>, JoinError>;

fn keep(ended: Ended, received: &mut [Vec<u8>]) -> Result<(), ScriptError> {
    let (connection, bytes) = ended.expect("a script does not panic")?;
    received[connection] = bytes;
    Ok(())
}

fn unconnected(connection: usize, doing: String, failure: Failure) -> ScriptError {
    ScriptError { connection, step: 0, doing, failure, received: Vec::new() }
}
