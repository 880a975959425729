//! What a client certificate proves is worth no more than the certificate is now.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use towline_net::peeked::Peeked;
use towline_net::stream::Stream;
use towline_net::tls::Expectation;
use towline_net::tls::client::Connector;
use towline_net::tls::client_auth::ClientAuthorities;
use towline_net::tls::identity::Identity;
use towline_net::tls::server::Acceptor;
use towline_proto::native::message::{Answer, ErrorCode, Refusal};
use towline_testkit::authority::{Authority, Issued};
use towline_testkit::deadline::within;

use super::support::{People, allow};
use crate::native::support::{Frame, Peer, stat};
use crate::support::{TestServer, acceptor, connect_from};
use towline_server::policy::Action;

/// A server where only backup.example may read, and that takes its certificate.
struct Vault {
    server: TestServer,
    acceptor: Arc<Acceptor>,
}

impl Vault {
    fn open(authority: &Authority) -> Self {
        let acceptor = acceptor();
        let shown = Arc::clone(&acceptor);
        let access =
            People::new().access(vec![allow("/", &["cert:backup.example"], &[Action::Read])]);
        let server = TestServer::start_with(|config| {
            config.access = access;
            config.tls = shown;
        });
        server.write("file", "content");
        let vault = Self { server, acceptor };
        vault.ask_for_certificates_of(authority);
        vault
    }

    fn ask_for_certificates_of(&self, authority: &Authority) {
        let authorities = ClientAuthorities::in_file(&authority.file()).unwrap();
        self.acceptor.ask_for_certificates(Some(authorities)).unwrap();
    }

    async fn connect(&self, connector: &Connector) -> Peer {
        let stream = connect_from(Ipv4Addr::LOCALHOST.into(), self.server.addr).await;
        let shaken = within("a handshake", connector.connect(Peeked::new(stream))).await.unwrap();
        Peer::over(Stream::tls(shaken)).await
    }
}

fn showing(issued: &Issued) -> Connector {
    let identity = Identity::from_files(&issued.certificate, &issued.key).unwrap();
    Connector::new("127.0.0.1", Expectation::Anything(None)).unwrap().showing(&identity)
}

fn assert_has_ended(refusal: &Refusal) {
    assert_eq!(refusal.code, ErrorCode::Denied);
    assert!(refusal.text.contains("has ended"), "{refusal:?}");
}

#[tokio::test]
async fn a_certificate_whose_time_is_over_ends_open_sessions_and_resumes_none() {
    let authority = Authority::new();
    let vault = Vault::open(&authority);
    let connector = showing(&authority.issue_for_seconds(10, "client", "backup.example"));
    let mut peer = vault.connect(&connector).await;
    peer.stat("file").await;
    // Its clock alone ends it.
    let refusal = loop {
        peer.ask(&stat("file")).await;
        match peer.next().await {
            // tidy: allow: nothing tells that the time of a certificate is over
            Frame::Answer(Answer::Info(_)) => sleep(Duration::from_millis(20)).await,
            Frame::Answer(Answer::Error(refusal)) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_has_ended(&refusal);
    let mut resumed = vault.connect(&connector).await;
    resumed.ask(&stat("file")).await;
    assert_has_ended(&resumed.refusal().await);
    drop(resumed);
    vault.server.finish().await;
}

#[tokio::test]
async fn certificates_of_an_authority_that_is_not_asked_any_more_end_open_sessions() {
    let authority = Authority::new();
    let vault = Vault::open(&authority);
    let connector = showing(&authority.issue("client", "backup.example"));
    let mut peer = vault.connect(&connector).await;
    peer.stat("file").await;
    // The same again, as at a reload where nothing of it changed.
    vault.ask_for_certificates_of(&authority);
    peer.stat("file").await;
    vault.ask_for_certificates_of(&Authority::new());
    peer.ask(&stat("file")).await;
    assert_has_ended(&peer.refusal().await);
    assert_eq!(peer.ended().await, b"");
    vault.server.finish().await;
}
