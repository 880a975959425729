//! How a download goes on, gives up and cleans up, whatever mixture of faults it meets.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpSocket;
use towline_client::classic::{AttemptError, download};
use towline_client::retry::Backoff;
use towline_testkit::chaos::Direction::ToClient;
use towline_testkit::chaos::{ChaosProxy, FaultKind, Plan};
use towline_testkit::deadline::within;
use towline_testkit::tree::random_bytes;

use super::{RETRIES, assert_whole, fetch_through};
use crate::support::{Fetch, HonestServer, NOTHING_LEFT, Record, Told, header, side_by_side};

const SEEDS: u64 = 200;

/// Nothing is listening there; the port is taken all the same, so that nobody else can be.
fn closed_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    let loopback = "127.0.0.1:0".parse().expect("this is an address");
    socket.bind(loopback).expect("loopback has a free port");
    socket
}

/// The first two connections are drawn from the seed, the others are sound.
async fn survive(seed: u64, content: Arc<Vec<u8>>) {
    let server = HonestServer::start("file", &content).await;
    let length = content.len() as u64;
    let proxy = ChaosProxy::start(server.addr(), move |connection| match connection {
        0 | 1 => Plan::from_seed(2 * seed + connection as u64, length),
        _ => Plan::clean(),
    })
    .await;
    let fetch =
        Fetch::new(proxy.addr(), "file").retries(RETRIES).silence_max(Duration::from_secs(1));
    let outcome = fetch.run().await;
    match &outcome.result {
        Ok(_) => assert_whole(&fetch, &outcome, &content),
        Err(error) => {
            // A request or a size that was bent on its way; everything else heals.
            let is_final = !error.source.is_retryable();
            assert!(is_final, "seed {seed}: {error}");
            assert_eq!(fetch.tree(), NOTHING_LEFT, "seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_seed_of_faults_ends_with_the_right_file_or_an_error_and_none() {
    let content = Arc::new(random_bytes(300 << 10, 5));
    side_by_side((0..SEEDS).map(|seed| survive(seed, Arc::clone(&content)))).await;
}

#[tokio::test]
async fn a_server_that_starts_later_is_found() {
    let socket = closed_port();
    let fetch = Fetch::new(socket.local_addr().unwrap(), "file").retries(1_000);
    let record = Record::default();
    let starting = async {
        record.wait_for(|told| matches!(told, Told::Retrying(retry) if retry.attempt == 3)).await;
        HonestServer::on(socket.listen(16).unwrap(), "file", b"content")
    };
    let downloading = download(&fetch.options, &record);
    let (downloaded, _server) =
        within("the server and the file", async { tokio::join!(downloading, starting) }).await;
    assert!(downloaded.unwrap().attempts > 3);
    assert_eq!(fetch.tree(), ["downloads/", "downloads/file"]);
}

#[tokio::test]
async fn waits_follow_the_backoff_and_attempts_are_counted() {
    let socket = closed_port();
    let mut fetch = Fetch::new(socket.local_addr().unwrap(), "file");
    fetch.options.backoff =
        Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(5), retries: 4 };
    let outcome = fetch.run().await;
    let told: Vec<_> = outcome
        .retries()
        .iter()
        .map(|retry| (retry.attempt, retry.wait.as_millis(), retry.discarded_bytes))
        .collect();
    assert_eq!(told, [(1, 1, 0), (2, 2, 0), (3, 4, 0), (4, 5, 0)]);
    let connecting = |told: &&Told| matches!(told, Told::Connecting { .. });
    let attempts: Vec<_> = outcome.told.iter().filter(connecting).collect();
    assert_eq!(attempts.len(), 5);
    assert_eq!(*attempts[4], Told::Connecting { attempt: 5 });
    let error = outcome.error();
    assert_eq!(error.attempts, 5);
    assert!(matches!(error.source, AttemptError::Connect(_)), "{error}");
    assert!(error.to_string().contains("(tried 5 times"), "{error}");
    assert_eq!(fetch.tree(), NOTHING_LEFT);
}

#[tokio::test]
async fn bytes_that_will_be_sent_again_are_told() {
    let content = random_bytes(100_000, 6);
    let at = header("file", &content).encode().len() as u64 + 70_001;
    let plan = Plan::clean().with(ToClient, at, FaultKind::Close);
    let (fetch, outcome) = fetch_through(plan, &content, |fetch| fetch).await;
    let retries = outcome.retries();
    assert_eq!(retries.len(), 1);
    assert_eq!(retries[0].discarded_bytes, 70_001);
    assert!(retries[0].error.contains("in the middle of the file"), "{}", retries[0].error);
    assert_whole(&fetch, &outcome, &content);
}

#[tokio::test]
async fn events_are_told_in_order_from_connecting_to_published() {
    let (fetch, outcome) = fetch_through(Plan::clean(), b"content", |fetch| fetch).await;
    let (size, md5) = (7, crate::support::md5(b"content"));
    let without_received: Vec<_> = outcome
        .told
        .iter()
        .filter(|told| !matches!(told, Told::Received { .. } | Told::Connected(_)))
        .cloned()
        .collect();
    let expected = [
        Told::Connecting { attempt: 1 },
        Told::Started { size, md5: Some(md5) },
        Told::Verified(md5),
        Told::Published(fetch.downloads().join("file")),
    ];
    assert_eq!(without_received, expected);
}

#[tokio::test]
async fn dropping_a_download_removes_the_part_and_the_folders_that_were_made_for_it() {
    let content = random_bytes(100_000, 7);
    let server = HonestServer::start("a/b/file", &content).await;
    let stalled = Plan::clean().with(ToClient, 50_000, FaultKind::Stall);
    let proxy = ChaosProxy::start(server.addr(), move |_| stalled.clone()).await;
    let fetch = Fetch::new(proxy.addr(), "a/b/file");
    let record = Record::default();
    let first_bytes = record.wait_for(|told| matches!(told, Told::Received { .. }));
    let before = tokio::select! {
        ended = download(&fetch.options, &record) => panic!("it ended: {ended:?}"),
        tree = async {
            within("the first bytes", first_bytes).await;
            fetch.tree()
        } => tree,
    };
    assert!(before.contains(&"downloads/a/b/.file.towline-part".to_owned()));
    assert_eq!(fetch.tree(), NOTHING_LEFT);
}
