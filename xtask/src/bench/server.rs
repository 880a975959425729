//! Servers that run beside the measurement: started, waited for, and ended with their owner.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::system::Interruption;
use crate::process::line;

/// A server that cannot listen within this time will not.
const START_MAX: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(10);

/// How much of a log is shown when something fails.
const TAIL_LINES: usize = 15;

/// A running server; dropping it ends it.
pub(super) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` and returns when it accepts connections on the port, wherever its network is.
    pub(super) fn start(
        command: &mut Command,
        port: u16,
        log: &Path,
        interruption: &Interruption,
    ) -> Result<Self> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
        let mut server = Self { child, log: log.into() };
        let started = Instant::now();
        while !listens(server.child.id(), port) {
            interruption.check()?;
            if let Some(status) = server.child.try_wait()? {
                bail!("`{}` ended: {status}\n{}", line(command), tail(log));
            }
            if started.elapsed() > START_MAX {
                bail!("`{}` does not listen on port {port}\n{}", line(command), tail(log));
            }
            thread::sleep(POLL);
        }
        Ok(server)
    }

    /// What `read` finds in the server's log, as soon as it does: a server may listen before it says so.
    pub(super) fn told<T>(
        &self,
        read: impl Fn(&str) -> Option<T>,
        what: &str,
        interruption: &Interruption,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            interruption.check()?;
            let text = fs::read(&self.log)?;
            if let Some(told) = read(&String::from_utf8_lossy(&text)) {
                return Ok(told);
            }
            if started.elapsed() > START_MAX {
                bail!("the server does not tell {what}\n{}", tail(&self.log));
            }
            thread::sleep(POLL);
        }
    }

    /// The time that its process has spent on a core so far.
    pub(super) fn core_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let ticks = ticks_on_core(&stat).context("the form of /proc/PID/stat is unknown")?;
        let per_s = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs(ticks) / u32::try_from(per_s)?)
    }

    /// The most memory that its process, or one that it has started and that still runs, has taken up, in
    /// bytes.
    pub(super) fn peak_memory(&self) -> u64 {
        let id = self.child.id();
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = list.split_whitespace().filter_map(|child| child.parse().ok());
        children.chain([id]).map(peak_memory).max().unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody listens on the port in the network of a process.
///
/// Read, not tried: the network may be another one than this program's, and a long way to connect.
fn listens(pid: u32, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|kind| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap_or_default();
        is_listening(&table, port)
    })
}

/// Whether a table of sockets, in the form of `proc_net_tcp(5)`, has one that listens on the port.
fn is_listening(table: &str, port: u16) -> bool {
    /// `TCP_LISTEN`, in hexadecimal.
    const LISTEN: &str = "0A";
    let ending = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_here = fields.next().is_some_and(|local| local.ends_with(&ending));
        is_here && fields.nth(1) == Some(LISTEN)
    })
}

/// The clock's ticks in user and system mode together, from `proc_pid_stat(5)`.
fn ticks_on_core(stat: &str) -> Option<u64> {
    /// Of the time in user mode among the fields after the name, which may hold anything.
    const USER: usize = 11;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(USER);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The most memory that a process has taken up, in bytes; 0 where it has ended.
pub(super) fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    high_water_mark(&status).unwrap_or(0)
}

/// The most that was resident, in bytes, from `proc_pid_status(5)`.
fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib << 10)
}

/// A loopback port that nobody listens on at the moment.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The last lines of a log, for an error message.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option >&2; exit 2"]);
        let log = folder.path().join("log");
        let started =
            Server::start(&mut command, free_port().unwrap(), &log, &Interruption::default());
        let error = started.err().expect("it does not listen").to_string();
        assert!(error.contains("ended") && error.contains("no such option"), "{error}");
    }

    #[test]
    fn a_listening_socket_is_told_from_a_connected_one() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000\n   \
                     1: 0100007F:0016 0100007F:C001 01 00000000:00000000 00:00000000\n";
        assert!(is_listening(table, 8_080));
        assert!(!is_listening(table, 22));
        assert!(!is_listening(table, 0x01F9));
    }

    #[test]
    fn what_a_server_says_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, "starting\n").unwrap();
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let server = Server { child, log: log.clone() };
        let read = |text: &str| {
            let told = text.split_once("word is: ").map(|(_, word)| word.trim().to_owned());
            fs::write(&log, "starting\nthe word is: rope\n").unwrap();
            told
        };
        let told = server.told(read, "its word", &Interruption::default()).unwrap();
        assert_eq!(told, "rope");
    }

    #[test]
    fn time_on_a_core_is_of_both_modes_whatever_the_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 800 0 0 0 130 25 0 0 20 0 3 0 1000 1 1";
        assert_eq!(ticks_on_core(stat), Some(155));
        assert_eq!(ticks_on_core("42 (short) S 1"), None);
    }

    #[test]
    fn the_most_memory_is_the_high_water_mark() {
        let status = "Name:\tVmHWM: 1 kB\nVmPeak:\t  900 kB\nVmHWM:\t  12 kB\nVmRSS:\t 3 kB\n";
        assert_eq!(high_water_mark(status), Some(12 << 10));
        assert_eq!(high_water_mark("Name:\tzombie\n"), None);
    }

    #[test]
    fn a_tail_is_the_end_of_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let text: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        fs::write(&log, text.join("\n")).unwrap();
        let tail = tail(&log);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("99"));
    }
}
