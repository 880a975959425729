//! A server as a process of its own: where it listens, what it logs, signals, and how it ends.

mod lines;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

pub(crate) use self::lines::Lines;
use crate::deadline::poll;

/// What a server says, with its address, once it accepts connections.
const LISTENING: &str = "listening on ";

/// A running server that says on standard error where it listens. Killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    running: Running,
    lines: Lines,
    addr: SocketAddr,
}

impl ServerProcess {
    /// Starts `command`, and waits for a line of its standard error with `listening on` and an
    /// address.
    ///
    /// # Panics
    /// When it does not start, or ends or says nothing for [`WAIT_MAX`](crate::deadline::WAIT_MAX);
    /// the message shows what it said.
    pub fn start(command: &mut Command) -> Self {
        let mut running = Running::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        let lines = Lines::read(running.child.stderr.take().expect("it is piped"));
        let addr = wait_line(&lines, LISTENING);
        let addr = last_addr(&addr).unwrap_or_else(|| panic!("no address in {addr:?}"));
        Self { running, lines, addr }
    }

    /// Where to connect: the last address of the line; loopback, where it listens on all addresses.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.running.child.id()
    }

    /// All lines of standard error so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// All lines of standard error, once the process and whoever shares it have ended.
    ///
    /// # Panics
    /// After [`WAIT_MAX`](crate::deadline::WAIT_MAX).
    pub fn lines_to_the_end(&mut self) -> Vec<String> {
        self.wait();
        self.lines.to_the_end()
    }

    /// The first line of standard error that holds `part`, waiting for it if need be.
    ///
    /// # Panics
    /// When standard error ends without it, or after [`WAIT_MAX`](crate::deadline::WAIT_MAX); the
    /// message shows all lines.
    pub fn wait_line(&self, part: &str) -> String {
        wait_line(&self.lines, part)
    }

    /// Sends a signal; does nothing where the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Ends the process at once, as a crash does, and waits until it has ended.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    /// After [`WAIT_MAX`](crate::deadline::WAIT_MAX).
    pub fn wait(&mut self) -> ExitStatus {
        self.running.wait()
    }
}

fn wait_line(lines: &Lines, part: &str) -> String {
    let found = lines.wait(part);
    found.unwrap_or_else(|| panic!("no line with {part:?} in:\n{}", lines.all().join("\n")))
}

/// The last `IP:PORT` of a line, also inside a URL, as an address to connect to.
fn last_addr(line: &str) -> Option<SocketAddr> {
    let of_addr = |letter: char| letter.is_ascii_hexdigit() || ".:[]".contains(letter);
    let mut addr: SocketAddr = line
        .split(|letter| !of_addr(letter))
        .filter_map(|word| word.trim_matches(['.', ':']).parse().ok())
        .next_back()?;
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(addr)
}

/// A child process that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child }
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        // Until it is waited for, its id cannot become another process's.
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let awaited = format!("the end of process {}", self.child.id());
        // Polled, because the standard library has no wait with a deadline.
        poll(&awaited, || self.ended())
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_of_a_line_counts() {
        let cases = [
            ("listening on 127.0.0.1:9999", "127.0.0.1:9999"),
            ("12:30:01 INFO listening on 127.0.0.1:1 and 127.0.0.2:65535.", "127.0.0.2:65535"),
            ("listening on towline://[::1]:80/", "[::1]:80"),
            ("listening on \u{1b}[1m127.0.0.1:7\u{1b}[0m", "127.0.0.1:7"),
            ("listening on 0.0.0.0:9999", "127.0.0.1:9999"),
            ("listening on [::]:9999", "[::1]:9999"),
        ];
        for (line, addr) in cases {
            assert_eq!(last_addr(line), Some(addr.parse().unwrap()), "{line}");
        }
        assert_eq!(last_addr("listening on port 9999, since 12:30:01"), None);
    }
}
