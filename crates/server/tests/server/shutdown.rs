//! A server that ends lets transfers finish within its grace, and nothing else.

use std::fs::File;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use towline_testkit::deadline::{poll, within};

use crate::support::{Reply, TestServer, is_open, read_all, request};

/// Hashing as many bytes takes minutes; as a hole they take no space.
const ENDLESS_BYTES: u64 = 200 << 30;

#[tokio::test]
async fn a_draining_server_lets_a_transfer_end() {
    let server = TestServer::start();
    let (_, content) = server.write_big("big");
    let held = server.hold_back("big").await;
    server.shutdown.drain();
    server.log.wait("shutting down").await;
    assert!(held.release().await == Reply::whole("big", content));
    server.ended().await;
}

#[tokio::test]
async fn a_draining_server_closes_connections_without_a_request_at_once() {
    let server = TestServer::start();
    server.write_big("big");
    let held = server.hold_back("big").await;
    let mut requestless = Vec::new();
    for begun in [b"".as_slice(), b"\0", b"\0\0\0\x05fi"] {
        let mut stream = server.connect().await;
        stream.write_all(begun).await.unwrap();
        let peer = stream.local_addr().unwrap();
        server.log.wait(&format!("{peer}: connected")).await;
        requestless.push(stream);
    }
    server.shutdown.drain();
    for mut stream in requestless {
        assert_eq!(read_all(&mut stream).await.0, b"");
    }
    drop(held);
    server.ended().await;
}

#[tokio::test]
async fn a_draining_server_accepts_nobody() {
    let server = TestServer::start();
    server.write_big("big");
    let held = server.hold_back("big").await;
    server.shutdown.drain();
    server.log.wait("shutting down").await;
    let refused = TcpStream::connect(server.addr).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(held);
    server.ended().await;
}

#[tokio::test]
async fn a_draining_server_says_what_it_waits_for() {
    let server = TestServer::start();
    server.write_big("big");
    let held = server.hold_back("big").await;
    server.shutdown.drain();
    let line = server.log.wait("waiting for 1 transfers: big to ").await;
    assert!(line.contains(&format!("to {} (", held.peer())), "{line}");
    assert!(line.contains(" of 16777216 bytes)"), "{line}");
    drop(held);
    server.ended().await;
}

#[tokio::test]
async fn a_transfer_that_outlasts_the_grace_is_cut() {
    let server = TestServer::start_with(|config| config.grace = Duration::from_millis(100));
    server.write_big("big");
    let held = server.hold_back("big").await;
    server.shutdown.drain();
    server.log.wait("the grace of 100ms is over").await;
    assert!(held.release().await.is_cut());
    server.ended().await;
}

#[tokio::test]
async fn a_second_request_to_end_cuts_transfers_at_once() {
    let server = TestServer::start();
    server.write_big("big");
    let held = server.hold_back("big").await;
    server.shutdown.drain();
    server.log.wait("shutting down").await;
    server.shutdown.cut();
    server.log.wait("cut off by the shutdown").await;
    assert!(held.release().await.is_cut());
    server.ended().await;
}

#[tokio::test]
async fn a_cut_needs_no_drain_before_it() {
    let server = TestServer::start();
    server.write_big("big");
    let held = server.hold_back("big").await;
    server.shutdown.cut();
    assert!(held.release().await.is_cut());
    server.ended().await;
}

#[tokio::test]
async fn a_server_with_nothing_to_do_ends_at_once() {
    TestServer::start().finish().await;
}

#[tokio::test]
async fn a_server_that_has_ended_hashes_nothing_any_more() {
    let server = TestServer::start();
    let path = server.path("endless");
    let file = File::create(&path).unwrap();
    file.set_len(ENDLESS_BYTES).unwrap();
    drop(file);
    let mut client = server.connect().await;
    client.write_all(&request("endless")).await.unwrap();
    server.log.wait("asks for endless").await;
    assert!(is_open(&path));
    server.shutdown.cut();
    server.ended().await;
    // A program whose runtime waits for the hashing could not end.
    poll("the end of the hashing", || (!is_open(&path)).then_some(()));
}

#[tokio::test]
async fn a_client_that_waits_for_hashing_is_kept_by_a_dripped_header() {
    let server = TestServer::start_with(|config| config.deadlines.drip = Duration::from_millis(10));
    let file = File::create(server.path("endless")).unwrap();
    file.set_len(ENDLESS_BYTES).unwrap();
    let mut client = server.connect().await;
    client.write_all(&request("endless")).await.unwrap();
    // All that can be known while the MD5 is being computed.
    let mut known = [0; 2 + 4 + "endless".len() + 8];
    within("the header", client.read_exact(&mut known)).await.unwrap();
    assert_eq!(&known[..13], b"OK\0\0\0\x07endless");
    assert_eq!(known[13..], ENDLESS_BYTES.to_be_bytes());
    server.shutdown.cut();
    server.ended().await;
}
