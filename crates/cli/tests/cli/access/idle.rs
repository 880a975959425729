//! Ten thousand connections that ask for nothing: what they cost the server, and that somebody else is served.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use towline_net::listen::raise_descriptor_limit;
use towline_net::peeked::Peeked;
use towline_net::tls::Expectation;
use towline_net::tls::TlsStream;
use towline_net::tls::client::Connector;
use towline_proto::native::preface::{PREFACE_BYTES, Preface};
use towline_testkit::deadline::within;
use towline_testkit::process::ServerProcess;
use towline_testkit::skip;

use super::support::pin;
use crate::support::{Site, is_full, run};

const KIB: u64 = 1_024;

/// Handshakes that are begun at once.
const AT_ONCE: usize = 64;

/// How many connections.
fn count() -> usize {
    if is_full() { 10_000 } else { 500 }
}

/// Claims the descriptors for so many, or says why the test ends here. Who claims them too waits until the guard is
/// dropped.
async fn many_descriptors(count: usize) -> Option<MutexGuard<'static, ()>> {
    /// The limit is one for all tests of this process.
    static CLAIMED: Mutex<()> = Mutex::const_new(());
    // Other tests need some as well.
    let needed = count as u64 + 2_000;
    if raise_descriptor_limit().is_some_and(|limit| limit < needed) {
        skip(&format!("fewer than {needed} descriptors are allowed here"));
        return None;
    }
    Some(CLAIMED.lock().await)
}

/// A server that takes as many from one address.
fn serve(site: &Site) -> ServerProcess {
    let arguments = ["serve", "server_files", "-p0", "-b127.0.0.1"];
    let limits = ["--max-per-source", "20000", "--max-connections", "20000"];
    ServerProcess::start(&mut site.towline(arguments.into_iter().chain(limits)))
}

/// The memory that a server's process has resident, in bytes.
fn memory(server: &ServerProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * KIB
}

async fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    within("a connection", socket.connect(addr)).await.unwrap()
}

/// A session that has greeted and been greeted, and asks for nothing.
async fn session(addr: SocketAddr, connector: Connector) -> TlsStream {
    let connecting = connector.connect(Peeked::new(connect(addr).await));
    let mut stream = within("a handshake", connecting).await.unwrap();
    stream.write_all(&Preface::OURS.encode()).await.unwrap();
    stream.flush().await.unwrap();
    let mut preface = [0; PREFACE_BYTES];
    within("the server's preface", stream.read_exact(&mut preface)).await.unwrap();
    stream
}

fn assert_serves(site: &Site, server: &ServerProcess) {
    let (pin, url) = (pin(server), format!("{}/file", server.addr()));
    let get = ["get", "--pin", &pin, "--no-sync", "--retries", "0", "-d", "got", "-f", &url];
    let ran = run(&mut site.towline(get));
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Fails if a server grew by more than this for each connection.
fn assert_grew_little(before: u64, server: &ServerProcess, each_max: u64) {
    let each = memory(server).saturating_sub(before) / count() as u64;
    println!("{each} bytes for each of {} connections", count());
    assert!(each <= each_max, "{each} bytes for each of {} connections", count());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_silent_connections_take_less_than_15_kib_each_and_hinder_nobody() {
    let Some(_claimed) = many_descriptors(count()).await else { return };
    let site = Site::new();
    site.serve_file("file", 100_000);
    let server = serve(&site);
    assert_serves(&site, &server);
    let before = memory(&server);
    let mut silent = Vec::new();
    for _ in 0..count() {
        silent.push(connect(server.addr()).await);
    }
    assert_serves(&site, &server);
    assert_grew_little(before, &server, 15 * KIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_encrypted_sessions_take_less_than_60_kib_each_and_hinder_nobody() {
    let Some(_claimed) = many_descriptors(count()).await else { return };
    let site = Site::new();
    site.serve_file("file", 100_000);
    let server = serve(&site);
    assert_serves(&site, &server);
    let before = memory(&server);
    let host = Ipv4Addr::LOCALHOST.to_string();
    let connector = Connector::new(&host, Expectation::Anything(None)).unwrap();
    let (mut opening, mut sessions) = (JoinSet::new(), Vec::new());
    for _ in 0..count() {
        if opening.len() == AT_ONCE {
            sessions.push(opening.join_next().await.unwrap().unwrap());
        }
        opening.spawn(session(server.addr(), connector.clone()));
    }
    sessions.extend(opening.join_all().await);
    assert_serves(&site, &server);
    assert_grew_little(before, &server, 60 * KIB);
}
