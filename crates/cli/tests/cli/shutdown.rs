//! Ctrl-C and SIGTERM, on either side, once and twice.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};
use towline_testkit::process::ServerProcess;

use crate::support::{Site, finish, run};

const NAME: &str = "file.bin";
const SIZE: u64 = 64 << 20;
const HALF: u64 = SIZE / 2;

/// A transfer that stands still in the middle: its network brings nothing more.
async fn stalled_transfer(site: &Site, server: &ServerProcess) -> (Child, ChaosProxy) {
    let proxy = ChaosProxy::start(server.addr(), |_| {
        Plan::clean().with(Direction::ToClient, HALF, FaultKind::Stall)
    })
    .await;
    let client = site.client(NAME, proxy.addr()).args(["--timeout", "600"]).spawn().unwrap();
    proxy.wait_forwarded(Direction::ToClient, HALF).await;
    (client, proxy)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_client_with_130_and_removes_what_it_had() {
    let site = Site::new();
    site.serve_file(NAME, SIZE);
    let server = site.server();
    for ending in [Signal::INT, Signal::TERM] {
        let (client, _proxy) = stalled_transfer(&site, &server).await;
        assert_eq!(site.fetched_names(), [format!(".{NAME}.towline-part")]);
        signal(&client, ending);
        let ran = tokio::task::spawn_blocking(|| finish(client)).await.unwrap();
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.stderr.contains("cannot resume"), "{ran:?}");
        assert!(site.fetched_names().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_on_the_server_says_what_it_waits_for_and_the_second_cuts() {
    let site = Site::new();
    site.serve_file(NAME, SIZE);
    let mut server = ServerProcess::start(&mut site.towline([
        "server",
        "0",
        "--bind",
        "127.0.0.1",
        "--grace",
        "60",
    ]));
    let (mut client, _proxy) = stalled_transfer(&site, &server).await;
    server.signal(Signal::INT);
    let line = server.wait_line("waiting for 1 transfer");
    assert!(line.contains(NAME), "{line}");
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(130));
    let log = site.log("server");
    assert!(log.contains("cut off by the shutdown"), "the log is flushed:\n{log}");
    client.kill().unwrap();
    client.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_bounds_the_drain() {
    let site = Site::new();
    site.serve_file(NAME, SIZE);
    let mut server = ServerProcess::start(&mut site.towline([
        "serve",
        "server_files",
        "-p0",
        "-b127.0.0.1",
        "--grace",
        "100ms",
    ]));
    let (mut client, _proxy) = stalled_transfer(&site, &server).await;
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    server.wait_line("the grace of 100ms is over");
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn a_server_without_transfers_ends_at_once_with_0_on_sigterm_and_130_on_ctrl_c() {
    let site = Site::new();
    for (ending, code) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let mut server = site.server();
        // A connection without a request is not waited for.
        let _idle = std::net::TcpStream::connect(server.addr()).unwrap();
        server.wait_line("connected");
        server.signal(ending);
        assert_eq!(server.wait().code(), Some(code));
    }
}

#[test]
fn a_port_in_use_is_told_with_advice() {
    let site = Site::new();
    let server = site.server();
    let port = server.addr().port().to_string();
    let ran = run(&mut site.towline(["server", &port, "--bind", "127.0.0.1"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&port) && ran.stderr.contains("another program"), "{ran:?}");
}
