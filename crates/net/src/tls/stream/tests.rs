//! Against the TLS library's own connection where that can send what is needed, else against another of ours.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::task::Waker;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ClientConfig, ContentType, PeerMisbehaved, ServerConfig};
use rustls::{ServerConnection, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::tls::Expectation;
use crate::tls::handshake::shake;
use crate::tls::identity::Identity;
use crate::tls::provider;
use crate::tls::verifier::Verifier;

/// More than the records that a test sends.
const WIRE_BYTES: usize = 1 << 20;

const READ_BYTES: usize = 64 * 1_024;

/// The last record that a key seals.
const LAST_RECORD: u64 = (1 << 24) - 1;

/// The TLS library's own server.
struct Library {
    connection: ServerConnection,
    wire: DuplexStream,
}

impl Library {
    async fn shake(mut self) -> Self {
        loop {
            self.receive().await;
            // Tickets go out with the first content.
            if !self.connection.is_handshaking() {
                return self;
            }
            self.send().await;
        }
    }

    /// What these bytes are sealed as, and whatever else there is to be sent.
    fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.connection.writer().write_all(bytes).unwrap();
        let mut sealed = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut sealed).unwrap();
        }
        sealed
    }

    async fn send(&mut self) {
        let sealed = self.seal(b"");
        self.wire.write_all(&sealed).await.unwrap();
    }

    /// Takes what has come, and tells what it holds.
    async fn receive(&mut self) -> Vec<u8> {
        let mut came = vec![0; WIRE_BYTES];
        let length = self.wire.read(&mut came).await.unwrap();
        let (mut new, mut content) = (&came[..length], Vec::new());
        while !new.is_empty() {
            self.connection.read_tls(&mut new).unwrap();
            self.connection.process_new_packets().unwrap();
            // It ends where there is no more yet.
            let _ = self.connection.reader().read_to_end(&mut content);
        }
        content
    }
}

fn client() -> Box<UnbufferedClientConnection> {
    client_of(None)
}

/// One whose records hold at most so many bytes.
fn client_of(record_bytes_max: Option<usize>) -> Box<UnbufferedClientConnection> {
    let verifier = Arc::new(Verifier::new(provider(), Expectation::Anything(None)));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config.max_fragment_size = record_bytes_max;
    let name = "files.example".try_into().unwrap();
    Box::new(UnbufferedClientConnection::new(Arc::new(config), name).unwrap())
}

fn server_config() -> Arc<ServerConfig> {
    server_config_of(None)
}

/// One whose records hold at most so many bytes.
fn server_config_of(record_bytes_max: Option<usize>) -> Arc<ServerConfig> {
    let identity = Identity::ephemeral().unwrap();
    let resolver = rustls::sign::SingleCertAndKey::from(Arc::clone(identity.certified()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.enable_secret_extraction = true;
    config.max_fragment_size = record_bytes_max;
    Arc::new(config)
}

/// A client of ours and a server of the library's.
async fn with_library(wire_bytes: usize) -> (TlsStream<DuplexStream>, Library) {
    let (mut near, far) = duplex(wire_bytes);
    let connection = ServerConnection::new(server_config()).unwrap();
    let library = Library { connection, wire: far };
    let (shaken, library) = tokio::join!(shake(&mut near, client(), Vec::new()), library.shake());
    (TlsStream::new(near, shaken.unwrap(), READ_BYTES).unwrap(), library)
}

/// What a client and a server of ours agree on, and what they have for a wire.
async fn shaken(wire_bytes: usize) -> [(DuplexStream, Shaken); 2] {
    let (mut near, mut far) = duplex(wire_bytes);
    let server = Box::new(UnbufferedServerConnection::new(server_config()).unwrap());
    let (client, server) =
        tokio::join!(shake(&mut near, client(), Vec::new()), shake(&mut far, server, Vec::new()));
    [(near, client.unwrap()), (far, server.unwrap())]
}

/// A client and a server of ours.
async fn pair(wire_bytes: usize) -> [TlsStream<DuplexStream>; 2] {
    let [near, far] = shaken(wire_bytes).await;
    [near, far].map(|(wire, shaken)| TlsStream::new(wire, shaken, READ_BYTES).unwrap())
}

fn content(length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).collect()
}

/// What a read leads to, which must not have to wait.
async fn failure(stream: &mut TlsStream<DuplexStream>) -> Error {
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    error.get_ref().unwrap().downcast_ref::<Error>().unwrap().clone()
}

#[tokio::test]
async fn records_are_put_together_from_a_few_bytes_at_a_time() {
    let (mut near, mut library) = with_library(7).await;
    let sent = content(40_000);
    let sealed = library.seal(&sent);
    let mut received = vec![0; sent.len()];
    let (written, read) =
        tokio::join!(library.wire.write_all(&sealed), near.read_exact(&mut received));
    written.unwrap();
    read.unwrap();
    assert!(received == sent);
}

#[tokio::test]
async fn handshakes_tickets_and_content_may_come_in_many_small_records() {
    let (mut near, far) = duplex(WIRE_BYTES);
    let small = Some(100);
    let connection = ServerConnection::new(server_config_of(small)).unwrap();
    let library = Library { connection, wire: far };
    let handshake = shake(&mut near, client_of(small), Vec::new());
    let (shaken, mut library) = tokio::join!(handshake, library.shake());
    let mut near = TlsStream::new(near, shaken.unwrap(), READ_BYTES).unwrap();
    let sealed = library.seal(&content(5_000));
    library.wire.write_all(&sealed).await.unwrap();
    let mut received = [0; 5_000];
    near.read_exact(&mut received).await.unwrap();
    assert!(received[..] == content(5_000));

    // The other way round: the client's messages in small records, for a server of ours.
    let (mut near, mut far) = duplex(WIRE_BYTES);
    let server = Box::new(UnbufferedServerConnection::new(server_config_of(small)).unwrap());
    let (client, server) = tokio::join!(
        shake(&mut near, client_of(small), Vec::new()),
        shake(&mut far, server, Vec::new())
    );
    assert!(client.is_ok() && server.is_ok());
}

#[tokio::test]
async fn a_record_may_be_cut_anywhere() {
    let (mut near, mut library) = with_library(WIRE_BYTES).await;
    for cut in 0..=200 {
        let sealed = [library.seal(&content(90)), library.seal(&content(60))].concat();
        let (first, rest) = sealed.split_at(cut.min(sealed.len()));
        library.wire.write_all(first).await.unwrap();
        let mut received = [0; 150];
        let mut filled = ReadBuf::new(&mut received);
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut near).poll_read(&mut context, &mut filled);
        let before = filled.filled().len();
        assert_eq!(read.is_ready(), before > 0);
        library.wire.write_all(rest).await.unwrap();
        near.read_exact(&mut received[before..]).await.unwrap();
        assert_eq!(received[..], [content(90), content(60)].concat());
    }
}

#[tokio::test]
async fn one_read_brings_all_records_that_have_come() {
    for initialised in [true, false] {
        let (mut near, mut library) = with_library(WIRE_BYTES).await;
        let sealed: Vec<u8> = (0..40).flat_map(|_| library.seal(&content(1_000))).collect();
        library.wire.write_all(&sealed).await.unwrap();
        let mut received = Vec::with_capacity(WIRE_BYTES);
        let read = if initialised {
            received.resize(WIRE_BYTES, 0);
            near.read(&mut received).await.unwrap()
        } else {
            near.read_buf(&mut received).await.unwrap()
        };
        assert_eq!(read, 40_000);
        assert!(received[..read].chunks(1_000).all(|part| part == content(1_000)));
    }
}

#[tokio::test]
async fn every_size_of_buffer_gets_the_same() {
    let (mut near, mut library) = with_library(WIRE_BYTES).await;
    let sent = content(50_000);
    for size in [1, 15, 16, 17, 16_383, 16_384, 16_385, 50_000] {
        let sealed = library.seal(&sent);
        library.wire.write_all(&sealed).await.unwrap();
        let mut received = vec![0; sent.len()];
        for part in received.chunks_mut(size) {
            near.read_exact(part).await.unwrap();
        }
        assert!(received == sent, "{size}");
    }
}

#[tokio::test]
async fn what_is_written_is_what_the_library_reads() {
    let (mut near, mut library) = with_library(WIRE_BYTES).await;
    for length in [1, 16_384, 16_385, 300_000] {
        near.write_all(&content(length)).await.unwrap();
        near.flush().await.unwrap();
        let mut received = Vec::new();
        while received.len() < length {
            received.extend(library.receive().await);
        }
        assert!(received == content(length), "{length}");
    }
    near.shutdown().await.unwrap();
    library.receive().await;
    assert_eq!(library.connection.reader().read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn damage_ends_the_connection_behind_what_was_whole() {
    // In the type, the version, the length, the ciphertext, and the tag.
    for damaged in [0, 1, 3, 5, 25] {
        let (mut near, mut library) = with_library(WIRE_BYTES).await;
        let whole = library.seal(b"whole");
        let mut sealed = library.seal(b"damaged");
        sealed[damaged] ^= 0x80;
        library.wire.write_all(&[whole, sealed].concat()).await.unwrap();
        let mut received = [0; 64];
        assert_eq!(near.read(&mut received).await.unwrap(), 5);
        assert_eq!(&received[..5], b"whole");
        let error = failure(&mut near).await;
        assert_eq!(failure(&mut near).await, error);
        near.shutdown().await.unwrap();
        let mut alert = [0; 64];
        let length = library.wire.read(&mut alert).await.unwrap();
        library.connection.read_tls(&mut &alert[..length]).unwrap();
        let told = library.connection.process_new_packets().unwrap_err();
        let expected = match damaged {
            0 | 1 => AlertDescription::UnexpectedMessage,
            3 => AlertDescription::RecordOverflow,
            _ => AlertDescription::BadRecordMac,
        };
        assert_eq!(told, Error::AlertReceived(expected));
    }
}

#[tokio::test]
async fn what_follows_the_end_is_not_read_and_answers_still_go_out() {
    let (mut near, mut library) = with_library(WIRE_BYTES).await;
    let mut sealed = library.seal(b"all");
    library.connection.send_close_notify();
    sealed.extend(library.seal(b""));
    sealed.extend(b"\x17\x03\x03 and no more");
    library.wire.write_all(&sealed).await.unwrap();
    let mut received = Vec::new();
    near.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"all");
    near.write_all(b"an answer").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(library.receive().await, b"an answer");
}

#[tokio::test]
async fn an_end_that_the_peer_did_not_confirm_is_an_error() {
    let (mut near, mut library) = with_library(WIRE_BYTES).await;
    let sealed = library.seal(b"not all");
    library.wire.write_all(&sealed[..sealed.len() - 1]).await.unwrap();
    drop(library);
    assert_eq!(near.read_u8().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_peer_may_change_its_key_and_ask_for_the_same() {
    let (mut near, mut library) = with_library(WIRE_BYTES).await;
    for _ in 0..100 {
        library.connection.refresh_traffic_keys().unwrap();
        let sealed = library.seal(b"question");
        library.wire.write_all(&sealed).await.unwrap();
        let mut received = [0; 8];
        near.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"question");
        near.write_all(b"answer").await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(library.receive().await, b"answer");
    }
}

#[tokio::test]
async fn a_key_is_changed_before_it_is_worn() {
    let [(near, mut client), (far, mut server)] = shaken(WIRE_BYTES).await;
    (client.secrets.tx.0, server.secrets.rx.0) = (LAST_RECORD, LAST_RECORD);
    let mut near = TlsStream::new(near, client, READ_BYTES).unwrap();
    let mut far = TlsStream::new(far, server, READ_BYTES).unwrap();
    let sent = content(3 * WIRE_BYTES);
    let mut received = vec![0; sent.len()];
    let sending = async {
        near.write_all(&sent).await.unwrap();
        near.flush().await.unwrap();
    };
    let ((), read) = tokio::join!(sending, far.read_exact(&mut received));
    read.unwrap();
    assert!(received == sent);
}

#[tokio::test]
async fn records_without_a_byte_are_no_end() {
    let [mut near, mut far] = pair(WIRE_BYTES).await;
    for part in [&b""[..], b"", b"con", b"", b"tent", b""] {
        far.sealing.seal(ContentType::ApplicationData, part).unwrap();
    }
    far.shutdown().await.unwrap();
    let mut received = Vec::new();
    near.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"content");
}

#[tokio::test]
async fn what_has_no_place_behind_a_handshake_ends_the_connection() {
    let refused: [&[(ContentType, &[u8])]; 9] = [
        // The beginning of a message, and content where its end should be.
        &[(ContentType::Handshake, &[4, 0, 0, 9]), (ContentType::ApplicationData, b"content")],
        &[(ContentType::Handshake, &[4, 0, 0, 9]), (ContentType::Alert, &[1, 0])],
        // A message that is too large, one that belongs to a handshake, one of no byte.
        &[(ContentType::Handshake, &[4, 1, 0, 0])],
        &[(ContentType::Handshake, &[20, 0, 0, 0])],
        &[(ContentType::Handshake, b"")],
        // A key update that is malformed, and one with something behind it.
        &[(ContentType::Handshake, &[24, 0, 0, 1, 2])],
        &[(ContentType::Handshake, &[24, 0, 0, 1, 0, 24])],
        &[(ContentType::Alert, &[1])],
        &[(ContentType::ChangeCipherSpec, &[1])],
    ];
    for records in refused {
        let [mut near, mut far] = pair(WIRE_BYTES).await;
        for (kind, bytes) in records {
            far.sealing.seal(*kind, bytes).unwrap();
        }
        far.flush().await.unwrap();
        failure(&mut near).await;
    }
}

#[tokio::test]
async fn only_clients_get_tickets() {
    let [mut near, mut far] = pair(WIRE_BYTES).await;
    near.sealing.seal(ContentType::Handshake, &[4, 0, 0, 1, 0]).unwrap();
    near.flush().await.unwrap();
    failure(&mut far).await;
}

#[tokio::test]
async fn key_updates_alone_are_not_borne_for_long() {
    let (mut near, mut library) = with_library(WIRE_BYTES).await;
    for _ in 0..33 {
        library.connection.refresh_traffic_keys().unwrap();
        library.send().await;
    }
    let error = failure(&mut near).await;
    assert_eq!(error, PeerMisbehaved::TooManyKeyUpdateRequests.into());
}

#[tokio::test]
async fn records_of_nothing_are_not_borne_for_long() {
    let cancelled = [1, AlertDescription::UserCanceled.into()];
    let nothing: [(ContentType, &[u8]); 2] =
        [(ContentType::ApplicationData, &[]), (ContentType::Alert, &cancelled)];
    for (kind, bytes) in nothing {
        let [mut near, mut far] = pair(WIRE_BYTES).await;
        for _ in 0..33 {
            near.sealing.seal(kind, bytes).unwrap();
        }
        near.flush().await.unwrap();
        let error = failure(&mut far).await;
        assert_eq!(error, PeerMisbehaved::TooManyEmptyFragments.into(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_peers_alert_is_told() {
    let [mut near, mut far] = pair(WIRE_BYTES).await;
    far.sealing.seal(ContentType::Alert, &[1, AlertDescription::UserCanceled.into()]).unwrap();
    far.sealing.seal(ContentType::Alert, &[2, AlertDescription::InternalError.into()]).unwrap();
    far.flush().await.unwrap();
    let error = failure(&mut near).await;
    assert_eq!(error, Error::AlertReceived(AlertDescription::InternalError));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_written_to_without_bound() {
    let [mut near, mut far] = pair(1_000).await;
    let sent = content(WIRE_BYTES);
    let mut context = Context::from_waker(Waker::noop());
    let mut taken = 0;
    while let Poll::Ready(written) = Pin::new(&mut near).poll_write(&mut context, &sent[taken..]) {
        taken += written.unwrap();
    }
    assert!(taken > 0 && taken < WIRE_BYTES / 2, "{taken}");
    assert!(Pin::new(&mut near).poll_flush(&mut context).is_pending());
    let mut received = vec![0; taken];
    let (flushed, read) = tokio::join!(near.flush(), far.read_exact(&mut received));
    flushed.unwrap();
    read.unwrap();
    assert!(received == sent[..taken]);
}

#[tokio::test]
async fn nothing_is_lost_or_sent_twice_where_reads_and_writes_are_dropped() {
    let [mut near, mut far] = pair(5_000).await;
    let sent = content(WIRE_BYTES);
    let (mut taken, mut received) = (0, Vec::new());
    while received.len() < sent.len() {
        let mut part = [0; 3_000];
        // Each is asked once, and dropped where it has to wait.
        let written = async {
            match &sent[taken..] {
                [] => near.flush().await.map(|()| 0),
                rest => near.write(rest).await,
            }
        };
        tokio::select! {
            biased;
            written = written => taken += written.unwrap(),
            () = std::future::ready(()) => {}
        }
        tokio::select! {
            biased;
            read = far.read(&mut part) => received.extend_from_slice(&part[..read.unwrap()]),
            () = std::future::ready(()) => {}
        }
    }
    assert!(received == sent);
}
