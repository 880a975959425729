//! Whoever takes all of something takes it from nobody else, and what is given back is used again.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use towline_net::listen::listen;
use towline_server::Shutdown;
use towline_server::config::Config;
use towline_testkit::process::ServerProcess;
use towline_testkit::skip;
use towline_testkit::tree::random_bytes;

use crate::support::{
    Reply, TestServer, acceptor, ask_from, ask_until_answered, connect_from, many_descriptors,
    read_all,
};

const CONTENT: &str = "the content of the file";

/// Tells the test that is a server of few descriptors to be one, of this folder.
const SERVED_FOLDER: &str = "TOWLINE_TEST_SERVED_FOLDER";

/// Descriptors of that server; its runtime and its listener take some ten.
const FEW_DESCRIPTORS: u64 = 40;

/// The loopback address that ends in `last`.
fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn limited(connections: usize, connections_per_source: usize) -> TestServer {
    let server = TestServer::start_with(|config| {
        config.limits.connections = connections;
        config.limits.connections_per_source = connections_per_source;
    });
    server.write("file", CONTENT);
    server
}

/// Connects from `source` and says nothing.
async fn idle(server: &TestServer, source: IpAddr) -> TcpStream {
    let stream = connect_from(source, server.addr).await;
    let peer = stream.local_addr().unwrap();
    server.log.wait(&format!("{peer}: connected")).await;
    stream
}

#[tokio::test]
async fn a_connection_beyond_the_total_is_closed_without_a_byte() {
    let server = limited(2, 2);
    let _idle = [idle(&server, loopback(1)).await, idle(&server, loopback(2)).await];
    let mut beyond = connect_from(loopback(3), server.addr).await;
    assert_eq!(read_all(&mut beyond).await.0, b"");
    assert_eq!(ask_from(loopback(4), server.addr, "file").await, Reply::nothing());
}

#[tokio::test]
async fn a_connection_beyond_its_sources_share_is_closed_without_a_byte() {
    let server = limited(10, 1);
    let _idle = idle(&server, loopback(1)).await;
    assert_eq!(ask_from(loopback(1), server.addr, "file").await, Reply::nothing());
}

#[tokio::test]
async fn a_source_that_takes_all_its_places_takes_none_from_another() {
    let server = limited(10, 2);
    let _idle = [idle(&server, loopback(1)).await, idle(&server, loopback(1)).await];
    assert_eq!(ask_from(loopback(1), server.addr, "file").await, Reply::nothing());
    let other = ask_from(loopback(2), server.addr, "file").await;
    assert_eq!(other, Reply::whole("file", CONTENT));
    server.finish().await;
}

#[tokio::test]
async fn a_place_is_given_back_when_its_connection_ends() {
    let server = limited(1, 1);
    let idle = idle(&server, loopback(1)).await;
    assert_eq!(server.ask("file").await, Reply::nothing());
    server.log.wait("turned away").await;
    drop(idle);
    let reply = ask_until_answered(server.addr, "file").await;
    assert_eq!(reply, Reply::whole("file", CONTENT));
    server.finish().await;
}

#[tokio::test]
async fn two_thousand_idle_connections_hinder_nobody() {
    const SOURCES: u8 = 20;
    const EACH: usize = 100;
    // Both ends are in this process.
    let needed = 2 * u64::from(SOURCES) * EACH as u64 + 500;
    let Some(_claimed) = many_descriptors(needed).await else { return };
    let server = TestServer::start();
    server.write("file", CONTENT);
    let mut idle = Vec::new();
    for source in 2..2 + SOURCES {
        for _ in 0..EACH {
            idle.push(connect_from(loopback(source), server.addr).await);
        }
    }
    assert_eq!(server.ask("file").await, Reply::whole("file", CONTENT));
    server.finish().await;
    for mut stream in idle {
        assert_eq!(read_all(&mut stream).await.0, b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_for_one_unhashed_file_all_get_it_whole() {
    let server = TestServer::start();
    let content = random_bytes(4 << 20, 1);
    server.write("big", &content);
    let addr = server.addr;
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        clients.spawn(async move { ask_from(loopback(1), addr, "big").await });
    }
    let whole = Reply::whole("big", content);
    while let Some(reply) = clients.join_next().await {
        assert!(reply.unwrap() == whole);
    }
    server.finish().await;
}

/// Runs a server of `folder` that may open few files, in a process of its own.
fn server_of_few_descriptors(folder: &tempfile::TempDir) -> ServerProcess {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["exhaustion::is_a_server_of_few_descriptors", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(SERVED_FOLDER, folder.path());
    ServerProcess::start(&mut command)
}

#[tokio::test]
#[ignore = "no test of its own: others run it as a process that is short of descriptors"]
async fn is_a_server_of_few_descriptors() {
    let Some(folder) = std::env::var_os(SERVED_FOLDER) else {
        return skip("run by other tests, with a folder to serve");
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let few = Rlimit { current: Some(FEW_DESCRIPTORS), maximum: Some(FEW_DESCRIPTORS) };
    setrlimit(Resource::Nofile, few).unwrap();
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    tracing::info!("listening on {}", listener.local_addr().unwrap());
    let config = Config::new(folder, acceptor());
    towline_server::run(vec![listener], config, Shutdown::default()).await.unwrap();
}

#[tokio::test]
async fn a_server_out_of_descriptors_serves_again_when_connections_close() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), CONTENT).unwrap();
    let server = server_of_few_descriptors(&folder);
    let mut idle = Vec::new();
    for _ in 0..2 * FEW_DESCRIPTORS {
        idle.push(connect_from(loopback(1), server.addr()).await);
    }
    server.wait_line("cannot accept connections for now");
    drop(idle);
    let reply = ask_until_answered(server.addr(), "file").await;
    assert_eq!(reply, Reply::whole("file", CONTENT));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_for_want_of_descriptors_is_not_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), CONTENT).unwrap();
    let server = server_of_few_descriptors(&folder);
    let mut clients = JoinSet::new();
    for _ in 0..2 * FEW_DESCRIPTORS {
        let addr = server.addr();
        clients.spawn(async move { ask_until_answered(addr, "file").await });
    }
    while let Some(reply) = clients.join_next().await {
        assert_eq!(reply.unwrap(), Reply::whole("file", CONTENT));
    }
}
