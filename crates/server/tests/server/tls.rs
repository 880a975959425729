//! TLS on the one port: who gets an encrypted session, who does not, and that nobody holds up others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use towline_net::peeked::Peeked;
use towline_net::tls::Expectation;
use towline_net::tls::client::Connector;
use towline_net::tls::{ALPN_NATIVE, TlsStream};
use towline_proto::native::preface::{PREFACE_BYTES, Preface};
use towline_server::config::Faces;
use towline_testkit::deadline::within;
use towline_testkit::script::{Script, run_client};

use crate::support::{End, Reply, TestServer, connect_from, many_descriptors, read_all, request};

/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1);

/// The beginning of a fatal alert: its record (RFC 8446, sections 5.1 and 6), without the reason.
const FATAL: &[u8] = b"\x15\x03\x03\0\x02\x02";

const PROTOCOL_VERSION: u8 = 70;

const NO_APPLICATION_PROTOCOL: u8 = 120;

/// What a client of these protocols says first.
fn hello(protocols: &[&[u8]]) -> Vec<u8> {
    begin(protocols).1
}

/// A client of these protocols, and what it says first.
fn begin(protocols: &[&[u8]]) -> (ClientConnection, Vec<u8>) {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = "files.example".try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    (connection, hello)
}

/// What a client of TLS 1.2 says first (RFC 5246, section 7.4.1.2): one cipher suite, signatures, a curve,
/// and our protocol.
fn hello_of_tls_1_2() -> Vec<u8> {
    let extensions = b"\0\x0d\0\x04\0\x02\x04\x03\0\x0a\0\x04\0\x02\0\x17\
        \0\x10\0\x0c\0\x0a\x09towline/1";
    let body = [
        &b"\x03\x03"[..],
        &[7; 32],
        b"\0",
        b"\0\x02\xc0\x2b",
        b"\x01\0",
        &[0, u8::try_from(extensions.len()).unwrap()],
        extensions,
    ]
    .concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

/// Shakes hands with whoever is at `addr`.
async fn shake(addr: SocketAddr) -> TlsStream {
    let connector = Connector::new("127.0.0.1", Expectation::Anything(None)).unwrap();
    let stream = TcpStream::connect(addr).await.unwrap();
    within("a handshake", connector.connect(Peeked::new(stream))).await.unwrap()
}

/// Fails unless a client that does everything right gets a session.
async fn is_served(addr: SocketAddr) {
    let mut stream = shake(addr).await;
    stream.write_all(&Preface::OURS.encode()).await.unwrap();
    stream.flush().await.unwrap();
    let mut preface = [0; PREFACE_BYTES];
    within("the server's preface", stream.read_exact(&mut preface)).await.unwrap();
    Preface::decode(&preface).unwrap();
}

/// Brings what comes to its listener on to `server`, every byte by itself.
async fn byte_by_byte(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(server).await.unwrap();
        far.set_nodelay(true).unwrap();
        let (mut requests, mut answers) = near.into_split();
        let (mut replies, mut onward) = far.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut replies, &mut answers).await });
        while let Ok(byte) = requests.read_u8().await {
            onward.write_u8(byte).await.unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_is_understood() {
    let server = TestServer::start();
    is_served(byte_by_byte(server.addr).await).await;
    server.finish().await;
}

#[tokio::test]
async fn a_handshake_that_stands_still_or_drips_is_closed_at_its_deadline() {
    // Long enough for the server to answer a whole hello first.
    let time_max = Duration::from_secs(3);
    let server = TestServer::start_with(|config| config.deadlines.tls_handshake = time_max);
    let hello = hello(&[ALPN_NATIVE]);
    let mut begun_ones = Vec::new();
    for begun in [5, hello.len() / 2, hello.len()] {
        let mut stream = server.connect().await;
        stream.write_all(&hello[..begun]).await.unwrap();
        begun_ones.push((begun, stream));
    }
    for (begun, mut stream) in begun_ones {
        let peer = stream.local_addr().unwrap();
        let (received, _) = read_all(&mut stream).await;
        assert_eq!(received.is_empty(), begun < hello.len());
        let late = format!("{peer}: closed: the encryption was not agreed on in time");
        server.log.wait(&late).await;
    }
    let (first, rest) = hello.split_at(8);
    let drip = Script::new().send(first).send_slowly(rest, Duration::from_millis(20));
    assert_eq!(run_client(server.addr, drip.hold()).await.unwrap(), b"");
    server.finish().await;
}

#[tokio::test]
async fn two_thousand_half_open_handshakes_hinder_nobody() {
    const SOURCES: u8 = 20;
    const EACH: usize = 100;
    // Both ends are in this process.
    let needed = 2 * u64::from(SOURCES) * EACH as u64 + 500;
    let Some(_claimed) = many_descriptors(needed).await else { return };
    let server = TestServer::start_with(|config| config.deadlines.tls_handshake = NEVER);
    let hello = hello(&[ALPN_NATIVE]);
    let mut half_open = Vec::new();
    for source in 2..2 + SOURCES {
        for _ in 0..EACH {
            let source = IpAddr::from([127, 0, 0, source]);
            let mut stream = connect_from(source, server.addr).await;
            stream.write_all(&hello).await.unwrap();
            half_open.push(stream);
        }
    }
    for stream in &mut half_open {
        // The server has answered, and waits for the client's part.
        assert_eq!(within("an answer", stream.read_u8()).await.unwrap(), 0x16);
    }
    is_served(server.addr).await;
    server.finish().await;
}

#[tokio::test]
async fn half_open_handshakes_beyond_the_bound_give_way_to_new_ones() {
    const BOUND: usize = 10;
    const HALF_OPEN: usize = 40;
    let server = TestServer::start_with(|config| {
        config.deadlines.tls_handshake = NEVER;
        config.limits.handshakes = BOUND;
    });
    let mut half_open = JoinSet::new();
    for _ in 0..HALF_OPEN {
        let mut stream = server.connect().await;
        stream.write_all(&hello(&[ALPN_NATIVE])).await.unwrap();
        half_open.spawn(async move { read_all(&mut stream).await });
    }
    for _ in 0..HALF_OPEN - BOUND {
        half_open.join_next().await.unwrap().unwrap();
    }
    server.log.wait("its handshake had stood longest of all, and others came").await;
    is_served(server.addr).await;
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_native_session_inside_tls_is_closed_without_an_answer() {
    let server = TestServer::start();
    server.write("file", "content");
    for inside in [
        &hello(&[ALPN_NATIVE])[..],
        &request("file"),
        b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"no protocol at all",
        b"\0",
    ] {
        let mut stream = shake(server.addr).await;
        stream.write_all(inside).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = Vec::new();
        // A connection that has not chosen anything ends without a farewell.
        let _ = within("the end", stream.read_to_end(&mut received)).await;
        assert_eq!(received, b"", "{}", inside.escape_ascii());
    }
    is_served(server.addr).await;
    server.finish().await;
}

#[tokio::test]
async fn garbage_in_the_place_of_records_ends_the_connection() {
    let server = TestServer::start_with(|config| config.deadlines.tls_handshake = NEVER);
    let hello = hello(&[ALPN_NATIVE]);
    for garbage in [&b"garbage, and much of it"[..], &[0; 100], b"\x17\x03\x03\0\x05abcde"] {
        let mut stream = server.connect().await;
        stream.write_all(&hello).await.unwrap();
        assert_eq!(within("the server's hello", stream.read_u8()).await.unwrap(), 0x16);
        stream.write_all(garbage).await.unwrap();
        read_all(&mut stream).await;
    }
    is_served(server.addr).await;
    server.finish().await;
}

#[tokio::test]
async fn a_client_of_no_protocol_or_of_another_one_is_refused() {
    let server = TestServer::start();
    let (received, _) = server.exchange(&hello(&[])).await;
    assert_eq!(received, [FATAL, &[NO_APPLICATION_PROTOCOL]].concat());
    server.log.wait("no protocol was asked for").await;
    for protocols in [&[&b"h2"[..], b"http/1.1"][..], &[b"towline/2"]] {
        let (mut client, hello) = begin(protocols);
        let (received, _) = server.exchange(&hello).await;
        client.read_tls(&mut &received[..]).unwrap();
        let refused = client.process_new_packets().unwrap_err();
        assert_eq!(refused, Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    }
    is_served(server.addr).await;
    server.finish().await;
}

#[tokio::test]
async fn tls_1_2_is_refused_with_an_alert() {
    let server = TestServer::start();
    let (received, _) = server.exchange(&hello_of_tls_1_2()).await;
    assert_eq!(received, [FATAL, &[PROTOCOL_VERSION]].concat());
    server.finish().await;
}

#[tokio::test]
async fn a_server_that_requires_encryption_answers_nobody_without_it() {
    let server = TestServer::start_with(|config| config.faces = Faces::ENCRYPTED);
    server.write("file", "content");
    for plain in [&Preface::OURS.encode()[..], b"GET /file HTTP/1.1\r\n\r\n"] {
        assert_eq!(server.exchange(plain).await, (Vec::new(), End::Clean));
    }
    assert_eq!(server.ask("file").await, Reply::nothing());
    is_served(server.addr).await;
    server.finish().await;
}
