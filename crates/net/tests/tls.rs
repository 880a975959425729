//! Handshakes between this crate's two ends: who is trusted, who is not, and what is sent.

// Helpers of tests may fail anywhere.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    StreamOwned, SupportedCipherSuite,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use towline_net::peeked::Peeked;
use towline_net::tls::client::{Connector, authorities_in};
use towline_net::tls::identity::Identity;
use towline_net::tls::server::Acceptor;
use towline_net::tls::{ALPN_NATIVE, TlsError, TlsStream, Untrusted};
use towline_net::tls::{Expectation, ServerProof};

/// An authority, and the files that it has given to a server called `files.example`.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["files.example".into()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        for (name, text) in [
            ("authority.pem", authority.pem()),
            ("certificate.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let owner_alone = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.path().join("key.pem"), owner_alone).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn identity(&self) -> Identity {
        Identity::from_files(&self.path("certificate.pem"), &self.path("key.pem")).unwrap()
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    fn expectation(&self) -> Expectation {
        Expectation::Authority(authorities_in(&self.path("authority.pem")).unwrap())
    }
}

fn identity() -> Identity {
    Identity::ephemeral().unwrap()
}

/// A client that knows nothing of the server yet.
fn newcomer() -> Connector {
    Connector::new("127.0.0.1", Expectation::Anything(None)).unwrap()
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(connecting, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Shakes hands over loopback.
async fn shake(
    connector: &Connector,
    acceptor: &Acceptor,
) -> (Result<TlsStream, TlsError>, std::io::Result<TlsStream>) {
    let (near, far) = sockets().await;
    tokio::join!(connector.connect(Peeked::new(near)), acceptor.accept(Peeked::new(far)))
}

async fn refusal(connector: &Connector, acceptor: &Acceptor) -> Untrusted {
    match shake(connector, acceptor).await {
        (Err(TlsError::Untrusted(untrusted)), _) => untrusted,
        (other, _) => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_known_key_is_trusted_and_another_one_is_not() {
    let (right, wrong) = (identity(), identity());
    let (pin, shown) = (right.pin(), wrong.pin());
    let connector = Connector::new("any.example", Expectation::Pin(pin)).unwrap();
    let (near, far) = shake(&connector, &Acceptor::new(right).unwrap()).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.write_all(b"question").await.unwrap();
    near.flush().await.unwrap();
    let mut received = [0; 8];
    far.read_exact(&mut received).await.unwrap();
    assert_eq!((&received, connector.proof()), (b"question", Some(ServerProof::Pin(pin))));

    let untrusted = refusal(&connector, &Acceptor::new(wrong).unwrap()).await;
    assert_eq!(untrusted, Untrusted::AnotherKey { expected: pin, shown });
}

#[tokio::test]
async fn the_first_key_that_is_seen_must_be_shown_from_then_on() {
    let acceptor = Acceptor::new(identity()).unwrap();
    let connector = newcomer();
    assert_eq!(connector.proof(), None);
    let first = acceptor.pin();
    assert!(shake(&connector, &acceptor).await.0.is_ok());
    assert_eq!(connector.proof(), Some(ServerProof::Pin(first)));

    let another = Acceptor::new(identity()).unwrap();
    let untrusted = refusal(&connector, &another).await;
    assert_eq!(untrusted, Untrusted::AnotherKey { expected: first, shown: another.pin() });
}

#[tokio::test]
async fn an_authority_vouches_for_its_names_alone() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(authority.identity()).unwrap();
    let connector = Connector::new("files.example", authority.expectation()).unwrap();
    let (near, far) = shake(&connector, &acceptor).await;
    assert!(near.is_ok() && far.is_ok(), "{near:?}");
    assert_eq!(connector.proof(), Some(ServerProof::Authority));

    let elsewhere = Connector::new("other.example", authority.expectation()).unwrap();
    let own = Acceptor::new(identity()).unwrap();
    for (connector, acceptor) in [(&elsewhere, &acceptor), (&connector, &own)] {
        let untrusted = refusal(connector, acceptor).await;
        assert!(matches!(untrusted, Untrusted::NoAuthority { .. }), "{untrusted}");
    }
    let stranger = Connector::new("files.example", Authority::new().expectation()).unwrap();
    assert!(matches!(refusal(&stranger, &acceptor).await, Untrusted::NoAuthority { .. }));
}

#[tokio::test]
async fn at_first_contact_an_authority_counts_more_than_a_key() {
    let authority = Authority::new();
    let authorities = authorities_in(&authority.path("authority.pem")).unwrap();
    let anything = Expectation::Anything(Some(authorities));
    let connector = Connector::new("files.example", anything).unwrap();
    let acceptor = Acceptor::new(authority.identity()).unwrap();
    assert!(shake(&connector, &acceptor).await.0.is_ok());
    assert_eq!(connector.proof(), Some(ServerProof::Authority));
    // From then on an own certificate is not enough.
    let own = Acceptor::new(identity()).unwrap();
    assert!(matches!(refusal(&connector, &own).await, Untrusted::NoAuthority { .. }));
}

#[tokio::test]
async fn later_sessions_resume_and_a_new_identity_is_shown_at_once() {
    let acceptor = Acceptor::new(identity()).unwrap();
    let connector = newcomer();
    for resumes in [false, true, true] {
        let (near, far) = shake(&connector, &acceptor).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        // The tickets come with the first bytes.
        far.write_all(b"x").await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'x');
        let kind = near.agreed().kind;
        assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumes, "{kind:?}");
    }
    let replacement = identity();
    let pin = replacement.pin();
    acceptor.replace(replacement);
    let newcomer = newcomer();
    assert!(shake(&newcomer, &acceptor).await.0.is_ok());
    assert_eq!(newcomer.proof(), Some(ServerProof::Pin(pin)));
}

#[tokio::test]
async fn the_key_exchange_resists_quantum_computers() {
    let acceptor = Acceptor::new(identity()).unwrap();
    let near = shake(&newcomer(), &acceptor).await.0.unwrap();
    assert_eq!(near.agreed().key_exchange, Some(rustls::NamedGroup::X25519MLKEM768));
}

/// Content that is no multiple of a record.
fn content() -> Vec<u8> {
    (0..300_001_u32).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// The library's cryptography with one cipher suite.
fn provider_of(suite: CipherSuite) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|offered: &SupportedCipherSuite| offered.suite() == suite);
    assert_eq!(provider.cipher_suites.len(), 1);
    Arc::new(provider)
}

const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Has a peer, whose records the library makes, send and be sent content three times, each time with other keys; it
/// asks us to change ours as well.
fn echo_with_new_keys<C, S>(mut peer: StreamOwned<C, std::net::TcpStream>, refresh: fn(&mut C))
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    S: rustls::SideData,
{
    let mut received = vec![0; content().len()];
    for _ in 0..3 {
        peer.read_exact(&mut received).unwrap();
        refresh(&mut peer.conn);
        peer.write_all(&received).unwrap();
        peer.flush().unwrap();
    }
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    // Our farewell, too.
    assert_eq!(peer.read(&mut received).unwrap(), 0);
}

/// Sends content and takes it back, three times, then the farewell.
async fn converse(mut stream: TlsStream) {
    let content = content();
    let mut received = vec![0; content.len()];
    for _ in 0..3 {
        stream.write_all(&content).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut received).await.unwrap();
        assert!(received == content);
    }
    assert_eq!(stream.read(&mut received).await.unwrap(), 0);
    stream.shutdown().await.unwrap();
}

/// A socket for who waits without a runtime.
fn blocking(socket: TcpStream) -> std::net::TcpStream {
    let socket = socket.into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    socket
}

#[tokio::test]
async fn a_hello_in_many_records_is_understood() {
    const HEADER_BYTES: usize = 5;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_NATIVE.to_vec()];
    let acceptor = Acceptor::new(identity()).unwrap();
    for part_bytes in [1, 7, 500] {
        let name = "files.example".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let (mut near, far) = sockets().await;
        for part in hello[HEADER_BYTES..].chunks(part_bytes) {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            let record = [&hello[..3], &length, part].concat();
            near.write_all(&record).await.unwrap();
        }
        // Nothing more comes, once there was an answer.
        let answering = async {
            let kind = near.read_u8().await.unwrap();
            near.shutdown().await.unwrap();
            kind
        };
        let (accepted, kind) = tokio::join!(acceptor.accept(Peeked::new(far)), answering);
        assert_eq!(kind, 0x16, "a hello in answer");
        assert!(accepted.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_records_and_keys_of_the_tls_library_is_understood() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(authority.identity()).unwrap();
    for suite in SUITES {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate("authority.pem")).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider_of(suite))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_NATIVE.to_vec()];
        let name = "files.example".try_into().unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let (near, far) = sockets().await;
        let peer = StreamOwned::new(client, blocking(near));
        let refresh = |client: &mut ClientConnection| client.refresh_traffic_keys().unwrap();
        let peer = tokio::task::spawn_blocking(move || echo_with_new_keys(peer, refresh));
        converse(acceptor.accept(Peeked::new(far)).await.unwrap()).await;
        peer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_records_and_keys_of_the_tls_library_is_understood() {
    let authority = Authority::new();
    for suite in SUITES {
        let key = PrivateKeyDer::from_pem_file(authority.path("key.pem")).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider_of(suite))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![authority.certificate("certificate.pem")], key)
            .unwrap();
        config.alpn_protocols = vec![ALPN_NATIVE.to_vec()];
        let server = ServerConnection::new(Arc::new(config)).unwrap();
        let (near, far) = sockets().await;
        let peer = StreamOwned::new(server, blocking(far));
        let refresh = |server: &mut ServerConnection| server.refresh_traffic_keys().unwrap();
        let peer = tokio::task::spawn_blocking(move || echo_with_new_keys(peer, refresh));
        let connector = Connector::new("files.example", authority.expectation()).unwrap();
        converse(connector.connect(Peeked::new(near)).await.unwrap()).await;
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_answers_in_plain_text_gets_no_byte_of_ours() {
    let (near, mut far) = sockets().await;
    let connector = newcomer();
    let connecting = connector.connect(Peeked::new(near));
    let answering = async {
        far.write_all(b"\xF7TOW\x01 hello, this is no encryption").await.unwrap();
        let mut received = Vec::new();
        let _ = far.read_to_end(&mut received).await;
        received
    };
    let (connected, received) = tokio::join!(
        async {
            let connected = connecting.await;
            assert!(connected.is_err());
            connected
        },
        answering
    );
    assert!(
        matches!(connected, Err(TlsError::NoTls(first)) if first.starts_with(b"\xF7TOW")),
        "what is no TLS is told by its first bytes"
    );
    // Handshake and alert records, nothing else.
    assert_eq!(&received[..2], b"\x16\x03");
}

#[test]
fn authorities_that_cannot_be_read_say_why() {
    for path in ["/no/such/file", "/dev/null"] {
        let error = authorities_in(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains(path), "{error}");
    }
    assert!(Connector::new("no host", Expectation::Anything(None)).is_err());
}
