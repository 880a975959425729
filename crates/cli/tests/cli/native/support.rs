//! A served folder to get from, what came of it, and transfers that stand still in the middle.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::task::{JoinSet, spawn_blocking};
use towline_client::journal::{self, Journal};
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};
use towline_testkit::deadline::{poll, within};
use towline_testkit::process::ServerProcess;

use crate::support::{Site, finish, same_content};

/// Size of a piece in bytes.
pub(super) const MIB: u64 = 1 << 20;

/// Beyond a piece's bytes, what its frames take on the wire, at most.
pub(super) const FRAMING_BYTES_MAX: u64 = 200;

/// Transfers that run at once in tests of many cases.
const SIDE_BY_SIDE_MAX: usize = 8;

/// What a transfer goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Plain,
    Tls,
}

impl Wire {
    pub(super) const BOTH: [Self; 2] = [Self::Plain, Self::Tls];
}

/// A site whose server runs.
pub(super) struct Ground {
    site: Site,
    wire: Wire,
    pub(super) server: ServerProcess,
}

impl Deref for Ground {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Ground {
    /// Serves one file of `size` bytes, called `file`, which is fetched without encryption.
    pub(super) fn with_file(size: u64) -> Self {
        Self::over(Wire::Plain, size)
    }

    /// Serves one file of `size` bytes, called `file`.
    pub(super) fn over(wire: Wire, size: u64) -> Self {
        let site = Site::new();
        site.serve_file("file", size);
        let server = site.server();
        Self { site, wire, server }
    }

    /// `towline get` of `file` from the server itself into `folder`.
    pub(super) fn get(&self, folder: &str) -> Command {
        self.get_from(self.server.addr(), folder)
    }

    /// The same by way of another address.
    pub(super) fn get_from(&self, address: SocketAddr, folder: &str) -> Command {
        self.get_url(&format!("{address}/file"), &["-d", folder])
    }

    /// `towline get` with these arguments.
    pub(super) fn get_url(&self, url: &str, args: &[&str]) -> Command {
        let fixed = ["get", "--json", "--no-sync", url];
        let wire: &[&str] = if self.wire == Wire::Plain { &["--plain"] } else { &[] };
        self.towline(fixed.into_iter().chain(wire.iter().chain(args).copied()))
    }

    /// `towline get` of `file` that waits for the disk and replaces an older one.
    pub(super) fn get_durably(&self, address: SocketAddr, folder: &str) -> Command {
        let url = format!("{address}/file");
        self.towline(["get", "--plain", "--json", "-f", &url, "-d", folder])
    }

    /// A way to the server on which each connection has this rate.
    pub(super) async fn throttled(&self, bytes_per_s: u64) -> ChaosProxy {
        let plan = move |_| {
            Plan::clean().with(Direction::ToClient, 0, FaultKind::Throttle { bytes_per_s })
        };
        ChaosProxy::start(self.server.addr(), plan).await
    }

    /// Starts a server of the same folder at the same address, with what the one before it remembered.
    pub(super) fn restart_server(&mut self) {
        let port = self.server.addr().port().to_string();
        let args = ["serve", "server_files", "--port", &port, "--bind", "127.0.0.1"];
        self.server = ServerProcess::start(&mut self.towline(args));
    }

    /// Where the served file is.
    pub(super) fn served(&self) -> PathBuf {
        self.path("server_files/file")
    }

    /// Fails unless `folder` holds `file` as it is served, and nothing else.
    pub(super) fn assert_got(&self, folder: &str, done: &Done) {
        self.assert_content(folder, done);
        assert_eq!(self.names(folder), ["file"], "{folder}");
    }

    /// Fails unless `folder` holds `file` as it is served.
    pub(super) fn assert_content(&self, folder: &str, done: &Done) {
        let open = |path| File::open(path).unwrap();
        let fetched = self.path(folder).join("file");
        let is_same = same_content(open(self.served()), open(fetched.clone()));
        assert!(is_same, "{folder}/file differs from what was served: {done:?}");
        let hashed = towline_store::hashing::hash_file(&open(fetched), |_| ()).unwrap();
        assert_eq!(done.blake3, hashed.blake3.to_string(), "{folder}");
    }

    /// The names in a folder, sorted; none where there is no folder.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Where the unfinished file is.
    pub(super) fn part(&self, folder: &str) -> PathBuf {
        self.path(folder).join(".file.towline-part")
    }

    /// Where its journal is.
    pub(super) fn journal_path(&self, folder: &str) -> PathBuf {
        self.path(folder).join("..file.journal.towline-part.towline-part")
    }

    /// What the journal of the unfinished file says.
    pub(super) fn journal(&self, folder: &str) -> Option<Journal> {
        journal::decode(File::open(self.journal_path(folder)).ok()?).unwrap()
    }

    /// The bytes of the pieces that the journal has of a file of `size`.
    pub(super) fn journaled_bytes(&self, folder: &str, size: u64) -> u64 {
        let journal = self.journal(folder);
        let pieces = journal.iter().flat_map(|journal| journal.pieces.iter());
        pieces.map(|(index, _)| (size - u64::from(index) * MIB).min(MIB)).sum()
    }

    /// How many pieces the journal has.
    pub(super) fn journaled(&self, folder: &str) -> u64 {
        self.journal(folder).map_or(0, |journal| journal.pieces.count() as u64)
    }

    /// Waits until the journal has `pieces`.
    pub(super) fn wait_journaled(&self, folder: &str, pieces: u64) {
        let awaited = format!("{pieces} pieces in the journal of {folder}");
        poll(&awaited, || (self.journaled(folder) >= pieces).then_some(()));
    }

    /// Begins a transfer over one connection that stands still once `pieces` have come and are noted.
    pub(super) async fn stall(&self, folder: &str, pieces: u64) -> Stalled {
        let place = pieces * (MIB + FRAMING_BYTES_MAX) + MIB / 2;
        let proxy = ChaosProxy::start(self.server.addr(), move |_| {
            Plan::clean().with(Direction::ToClient, place, FaultKind::Stall)
        })
        .await;
        let mut command = self.get_from(proxy.addr(), folder);
        let client = command.args(["-j1", "--timeout", "600"]).spawn().unwrap();
        proxy.wait_forwarded(Direction::ToClient, place).await;
        self.wait_journaled(folder, pieces);
        Stalled { client, _proxy: proxy }
    }

    /// Leaves what `kill -9` leaves of a transfer once `pieces` have come.
    pub(super) async fn leave_part(&self, folder: &str, pieces: u64) {
        let mut stalled = self.stall(folder, pieces).await;
        stalled.client.kill().unwrap();
        stalled.client.wait().unwrap();
    }
}

/// A file that another thread appends to, as to a log, until this is dropped.
pub(super) struct Growing {
    is_over: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Growing {
    pub(super) fn start(path: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let mut log = OpenOptions::new().append(true).open(path).unwrap();
        let writer = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                log.write_all(b".").unwrap();
            }
        });
        Self { is_over, writer: Some(writer) }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

/// A running client that gets nothing more.
pub(super) struct Stalled {
    pub(super) client: Child,
    _proxy: ChaosProxy,
}

/// How a run ended, with the events it told.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) code: Option<i32>,
    pub(super) events: Vec<Value>,
    pub(super) stderr: String,
}

/// The last event of a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) size: u64,
    pub(super) blake3: String,
    pub(super) received_bytes: u64,
    pub(super) kept_bytes: u64,
    pub(super) repaired_bytes: u64,
    pub(super) lost_connections: u64,
    pub(super) up_to_date: bool,
}

impl Got {
    /// The success; anything else fails the test.
    pub(super) fn done(&self) -> Done {
        assert_eq!(self.code, Some(0), "{self:?}");
        let done = self.events.last().unwrap();
        assert_eq!(done["event"], "done", "{self:?}");
        let number = |key: &str| done[key].as_u64().unwrap();
        Done {
            size: number("size"),
            blake3: done["blake3"].as_str().unwrap().to_owned(),
            received_bytes: number("received_bytes"),
            kept_bytes: number("kept_bytes"),
            repaired_bytes: number("repaired_bytes"),
            lost_connections: number("lost_connections"),
            up_to_date: done["up_to_date"].as_bool().unwrap(),
        }
    }

    /// Fails unless the run failed with `code`, and says so in its last event.
    pub(super) fn assert_failed(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let failed = self.events.last().unwrap();
        assert_eq!(
            (&failed["event"], failed["exit"].as_i64()),
            (&"failed".into(), Some(code.into()))
        );
    }
}

/// Runs a command to its end, while the networks of this process go on.
pub(super) async fn got(mut command: Command) -> Got {
    got_of(command.stdout(Stdio::piped()).spawn().unwrap()).await
}

/// Waits for a running command's end.
pub(super) async fn got_of(child: Child) -> Got {
    within("the end of a run", spawn_blocking(|| got_now(child))).await.unwrap()
}

/// The same, for whoever is no task.
pub(super) fn got_now(child: Child) -> Got {
    let ran = finish(child);
    let event = |line: &str| serde_json::from_str(line).unwrap();
    Got { code: ran.code, events: ran.stdout.lines().map(event).collect(), stderr: ran.stderr }
}

/// Waits until a client has come to a point, or has ended before it; tells whether it has ended.
pub(super) fn ended_before(client: &mut Child, mut is_there: impl FnMut() -> bool) -> bool {
    poll("a client's progress", || {
        let has_ended = client.try_wait().unwrap().is_some();
        (has_ended || is_there()).then_some(has_ended)
    })
}

/// Runs all of `cases`, some at a time; one that fails fails the test.
pub(super) async fn side_by_side<F>(cases: impl IntoIterator<Item = F>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for case in cases {
        if running.len() == SIDE_BY_SIDE_MAX {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(case);
    }
    running.join_all().await;
}

/// The most memory that a process has had, in bytes; `None` once it has ended.
pub(super) fn most_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1_024)
}
