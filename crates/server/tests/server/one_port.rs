//! What is not the classic protocol is closed cleanly, and disturbs nobody.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use towline_testkit::random::Random;
use towline_testkit::tree::random_bytes;

use crate::support::{End, Reply, TestServer, read_all};

/// The beginning of a TLS 1.2 or 1.3 hello: a handshake record of 508 bytes.
const TLS_HELLO: &[u8] = b"\x16\x03\x01\x01\xfc\x01\x00\x01\xf8\x03\x03";

async fn is_closed_cleanly(first_bytes: &[u8]) {
    let server = TestServer::start_with(|config| {
        config.deadlines.tls_handshake = Duration::from_millis(50);
    });
    server.write("file", "content");
    assert_eq!(
        server.exchange(first_bytes).await,
        (Vec::new(), End::Clean),
        "{}",
        first_bytes.escape_ascii()
    );
    assert_eq!(server.ask("file").await, Reply::whole("file", "content"));
    server.finish().await;
}

#[tokio::test]
async fn a_tls_hello_is_closed_cleanly() {
    is_closed_cleanly(TLS_HELLO).await;
}

#[tokio::test]
async fn a_native_preface_is_closed_cleanly() {
    is_closed_cleanly(b"\xf7TOW\x01\x00\x00\x00").await;
}

#[tokio::test]
async fn an_http_request_is_closed_cleanly() {
    is_closed_cleanly(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
}

#[tokio::test]
async fn an_http_2_preface_is_closed_cleanly() {
    is_closed_cleanly(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
}

#[tokio::test]
async fn an_ssh_banner_is_closed_cleanly() {
    is_closed_cleanly(b"SSH-2.0-OpenSSH_9.9\r\n").await;
}

#[tokio::test]
async fn a_length_that_no_classic_request_has_is_closed_cleanly() {
    is_closed_cleanly(&u32::MAX.to_be_bytes()).await;
}

#[tokio::test]
async fn an_unknown_protocol_that_says_much_is_closed_cleanly() {
    is_closed_cleanly(&vec![b'!'; 32 << 10]).await;
}

#[tokio::test]
async fn random_bytes_end_no_server() {
    let server = TestServer::start();
    server.write("file", "content");
    let mut random = Random::from_seed(1);
    for seed in 0..500 {
        let length = usize::try_from(random.below(64)).unwrap();
        let mut stream = server.connect().await;
        // A server that has closed already resets the rest.
        let _ = stream.write_all(&random_bytes(length, seed)).await;
        let _ = stream.shutdown().await;
        read_all(&mut stream).await;
    }
    assert_eq!(server.ask("file").await, Reply::whole("file", "content"));
    server.finish().await;
}

#[tokio::test]
async fn a_face_once_chosen_is_kept() {
    let server = TestServer::start();
    let (reply, _) = server.exchange(b"\0\0\0\x0eGET / HTTP/1.1").await;
    assert_eq!(Reply::of(reply).refusal(), "File not found: GET / HTTP/1.1".to_owned());
    server.finish().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_at_its_deadline() {
    let server = TestServer::start_with(|config| {
        config.deadlines.first_bytes = Duration::from_millis(50);
    });
    assert_eq!(server.exchange(b"").await, (Vec::new(), End::Clean));
    server.finish().await;
}

#[tokio::test]
async fn first_bytes_that_choose_no_face_yet_are_closed_at_their_deadline() {
    let server = TestServer::start_with(|config| {
        config.deadlines.first_bytes = Duration::from_millis(50);
    });
    for first in [b"\0".as_slice(), b"\x16", b"GE", b"PRI * HTTP/2."] {
        assert_eq!(server.exchange(first).await, (Vec::new(), End::Clean));
    }
    server.finish().await;
}
