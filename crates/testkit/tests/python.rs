//! The Python peers against each other: what the classic system's document promises.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{TempDir, tempdir};
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};
use towline_testkit::deadline::{poll, within};
use towline_testkit::python::{Python, PythonServer};
use towline_testkit::skip;
use towline_testkit::tree::{random_bytes, write_random_file};

/// A server and a client, each with a folder of its own.
struct Peers {
    python: Python,
    server: PythonServer,
    share: TempDir,
    home: TempDir,
}

impl Peers {
    fn start() -> Option<Self> {
        let python = Python::find()?;
        let share = tempdir().expect("a temporary folder");
        let server = python.server(share.path());
        let home = tempdir().expect("a temporary folder");
        Some(Self { python, server, share, home })
    }

    fn serve(&self, name: &str, size_bytes: u64) {
        let path = self.share.path().join("server_files").join(name);
        write_random_file(path, size_bytes, 1).expect("a file can be written");
    }

    fn client_of(&self, name: &str, server: SocketAddr) -> Command {
        let host = server.ip().to_string();
        self.python.client(self.home.path(), name, &host, server.port())
    }

    fn get(&self, name: &str) -> Output {
        let mut client = self.client_of(name, self.server.addr());
        client.output().expect("the client starts")
    }

    fn downloaded(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.home.path().join("client_downloads").join(name)).ok()
    }
}

fn log_names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("logs")).expect("there is a log folder");
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[test]
fn files_of_any_size_arrive() {
    let Some(mut peers) = Peers::start() else {
        return skip("there is no python3");
    };
    for size in [0, 1, 4_095, 4_096, 4_097, 100 << 20] {
        peers.serve("naïve name.bin", size as u64);
        let output = peers.get("naïve name.bin");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            peers.downloaded("naïve name.bin").unwrap() == random_bytes(size, 1),
            "{size} bytes"
        );
    }
    let is_log = |name: &String, of: &str| {
        name.strip_prefix(of).and_then(|name| name.strip_suffix(".log")).map(str::len) == Some(15)
    };
    assert!(log_names(peers.share.path()).iter().all(|name| is_log(name, "server_")));
    assert!(log_names(peers.home.path()).iter().all(|name| is_log(name, "client_")));
    // What it says of a transfer it may still be about to say when the client has ended.
    peers.server.interrupt();
    let said = peers.server.lines_to_the_end();
    let progress = said.iter().filter(|line| line.contains("% (")).count();
    // Ten for the large file; the small ones come in one or two chunks.
    assert!(progress >= 10, "{progress} lines of progress");
}

#[test]
fn a_missing_file_fails_without_a_retry() {
    let Some(mut peers) = Peers::start() else {
        return skip("there is no python3");
    };
    for name in ["missing", "../server_files", "/etc/passwd", "no\u{1}such"] {
        assert_eq!(peers.get(name).status.code(), Some(1), "{name}");
    }
    let downloads = fs::read_dir(peers.home.path().join("client_downloads")).unwrap();
    assert_eq!(downloads.count(), 0);
    peers.server.interrupt();
    let said = peers.server.lines_to_the_end();
    let requests = said.iter().filter(|line| line.contains("Request")).count();
    assert_eq!(requests, 4);
}

#[tokio::test]
async fn a_transfer_that_is_cut_is_tried_again() {
    let Some(peers) = Peers::start() else {
        return skip("there is no python3");
    };
    peers.serve("large", 2 << 20);
    let proxy = ChaosProxy::start(peers.server.addr(), |connection| match connection {
        0 => strike(FaultKind::Cut),
        _ => Plan::clean(),
    })
    .await;
    let client = peers.client_of("large", proxy.addr());
    assert_eq!(output(client).await.status.code(), Some(0));
    assert!(peers.downloaded("large").unwrap() == random_bytes(2 << 20, 1));
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_changed_byte_is_found_and_nothing_is_kept() {
    let Some(peers) = Peers::start() else {
        return skip("there is no python3");
    };
    peers.serve("large", 2 << 20);
    let flip = |_| strike(FaultKind::Flip { mask: 1 });
    let proxy = ChaosProxy::start(peers.server.addr(), flip).await;
    let output = output(peers.client_of("large", proxy.addr())).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Checksum mismatch"), "{output:?}");
    assert_eq!(peers.downloaded("large"), None);
}

#[tokio::test]
async fn an_interrupted_client_leaves_nothing_and_the_server_ends_in_order() {
    let Some(mut peers) = Peers::start() else {
        return skip("there is no python3");
    };
    peers.serve("large", 2 << 20);
    // A stall in the middle, so that the client cannot be done before it is interrupted.
    let proxy = ChaosProxy::start(peers.server.addr(), |_| strike(FaultKind::Stall)).await;
    let mut client = peers.client_of("large", proxy.addr());
    let mut client = client.stdout(Stdio::null()).spawn().unwrap();
    proxy.wait_forwarded(Direction::ToClient, 1 << 20).await;
    poll("the first bytes", || peers.downloaded("large").filter(|bytes| !bytes.is_empty()));

    interrupt(&client);
    assert_eq!(client.wait().unwrap().code(), Some(1));
    assert_eq!(peers.downloaded("large"), None);
    drop(proxy);
    assert_eq!(peers.server.interrupt().code(), Some(0));
}

/// A fault in the middle of a reply of 2 MiB.
fn strike(kind: FaultKind) -> Plan {
    Plan::clean().with(Direction::ToClient, 1 << 20, kind)
}

/// Runs a command while the proxy, on the same runtime, works on.
async fn output(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = within("the end of the client", run).await.expect("the task does not panic");
    output.expect("the client starts")
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).expect("a child can be signalled");
}
