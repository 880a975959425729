//! What a service manager is told (`sd_notify(3)`): that the server is ready, reloads, ends, and that it is alive.

use std::convert::Infallible;
use std::env::{var, var_os};
use std::ffi::OsStr;
use std::future::pending;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::interval;
use towline_server::Handle;

use crate::output;

/// Longest wait for a manager that takes no messages.
const SEND_MAX: Duration = Duration::from_secs(1);

/// The service manager that started this process, if one did.
pub(super) struct Manager {
    socket: Option<UnixDatagram>,
    /// Silence after which it takes the server for dead.
    watchdog: Option<Duration>,
}

impl Manager {
    /// Connects to the one that the environment names. It is done once and early: a confined process connects to nothing.
    pub(super) fn of_environment() -> Self {
        let socket = var_os("NOTIFY_SOCKET").and_then(|name| {
            let name = name.as_encoded_bytes();
            let complain = |error: &io::Error| {
                let name = name.escape_ascii();
                output::error(format_args!("cannot tell {name} how the server is: {error}"));
            };
            connect(name).inspect_err(complain).ok()
        });
        let number = |name: &str| var(name).ok()?.parse().ok();
        let is_for_us =
            number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&usec| is_for_us && usec > 0);
        Self { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Clients are served, as `status` says.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Files are read again; [`ready`](Self::ready) ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=reading its files again"));
    }

    /// No new connections are taken.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=finishing transfers");
    }

    /// Says that the server is alive, for as long as it is.
    pub(super) async fn watch(&self, server: &Handle) -> Infallible {
        let Some(silence_max) = self.watchdog else { return pending().await };
        let mut beats = interval(silence_max / 2);
        loop {
            beats.tick().await;
            if server.is_alive().await {
                self.send("WATCHDOG=1");
            }
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A manager that is gone cannot be told anything. With a time limit, a signal ends the call.
            while let Err(error) = socket.send(message.as_bytes())
                && error.kind() == io::ErrorKind::Interrupted
            {}
        }
    }
}

/// `/path`, or `@name` for one in the abstract namespace.
fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_MAX))?;
    Ok(socket)
}
