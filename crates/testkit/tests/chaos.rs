//! The chaos proxy on real sockets: what each peer sees of each fault.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use towline_testkit::chaos::{
    ChaosProxy,
    Direction::{self, ToClient, ToServer},
    FaultKind, Gate, Plan, Recording,
};
use towline_testkit::deadline::within;
use towline_testkit::port::ReservedPort;
use towline_testkit::script::{Failure, Script, ScriptError, ScriptServer, run_client};
use towline_testkit::tree::random_bytes;

const REQUEST: &[u8] = b"request";

/// Sends a request through a proxy with `plan`, and the reply back; returns what the client and the
/// server saw.
async fn exchange(
    plan: Plan,
    reply: &[u8],
) -> (Result<Vec<u8>, ScriptError>, Result<Vec<Vec<u8>>, ScriptError>) {
    let server = ScriptServer::start(vec![
        Script::new().expect_any(REQUEST.len()).send(reply).shutdown_write().read_to_end(),
    ])
    .await;
    let proxy = ChaosProxy::start(server.addr(), move |_| plan.clone()).await;
    let client = run_client(proxy.addr(), Script::new().send(REQUEST).read_to_end()).await;
    (client, server.finish().await)
}

fn one(direction: Direction, at_byte: u64, kind: FaultKind) -> Plan {
    Plan::clean().with(direction, at_byte, kind)
}

fn is_reset(error: &ScriptError) -> bool {
    matches!(&error.failure, Failure::Io(io) if io.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_clean_plan_carries_megabytes_both_ways_unchanged() {
    let (upload, download) = (random_bytes(3 << 20, 1), random_bytes(5 << 20, 2));
    let server = ScriptServer::start(vec![
        Script::new().expect(upload.clone()).send(download.clone()).shutdown_write().read_to_end(),
    ])
    .await;
    let proxy = ChaosProxy::start(server.addr(), |_| Plan::clean()).await;
    let client = Script::new().send(upload).expect(download).read_to_end();
    run_client(proxy.addr(), client).await.unwrap();
    server.finish().await.unwrap();
    assert_eq!((proxy.forwarded(ToServer), proxy.forwarded(ToClient)), (3 << 20, 5 << 20));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_half_close_passes_while_the_reply_goes_on() {
    let server =
        ScriptServer::start(vec![Script::new().expect(REQUEST).read_to_end().send("reply")]).await;
    let proxy = ChaosProxy::start(server.addr(), |_| Plan::clean()).await;
    let client = Script::new().send(REQUEST).shutdown_write().read_to_end();
    assert_eq!(run_client(proxy.addr(), client).await.unwrap(), b"reply");
    server.finish().await.unwrap();
}

#[tokio::test]
async fn a_cut_resets_both_sides_after_exactly_its_bytes() {
    for at in [0, 1, 4, 5] {
        let (client, server) = exchange(one(ToClient, at, FaultKind::Cut), b"reply").await;
        let client = client.unwrap_err();
        assert!(is_reset(&client), "{client}");
        assert_eq!(client.received, b"reply"[..usize::try_from(at).unwrap()]);
        // A reset, or what a socket says to a close that comes after one.
        server.unwrap_err();
    }
}

#[tokio::test]
async fn a_cut_of_the_request_leaves_the_server_its_first_bytes() {
    let (client, server) = exchange(one(ToServer, 3, FaultKind::Cut), b"reply").await;
    assert!(is_reset(&client.unwrap_err()));
    let server = server.unwrap_err();
    assert!(is_reset(&server), "{server}");
    assert_eq!(server.received, b"req");
}

#[tokio::test]
async fn a_close_ends_both_sides_in_order() {
    let (client, server) = exchange(one(ToClient, 4, FaultKind::Close), b"reply").await;
    assert_eq!(client.unwrap(), b"repl");
    assert_eq!(server.unwrap(), [REQUEST]);
}

#[tokio::test]
async fn a_stall_holds_the_connection_open() {
    let server = ScriptServer::start(vec![
        Script::new().expect(REQUEST).send("reply").shutdown_write().hold(),
    ])
    .await;
    let proxy = ChaosProxy::start(server.addr(), |_| one(ToClient, 2, FaultKind::Stall)).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    client.write_all(REQUEST).await.unwrap();
    let mut first = [0; 2];
    within("the first bytes", client.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"re");
    // Neither the rest nor the end of the reply, which has long been sent, comes.
    let rest = timeout(Duration::from_millis(100), client.read(&mut first)).await;
    assert!(rest.is_err(), "{rest:?}");
    drop(client);
    server.finish().await.unwrap();
}

#[tokio::test]
async fn a_pause_delays_what_follows() {
    let pause = Duration::from_millis(150);
    let start = Instant::now();
    let (client, _) = exchange(one(ToClient, 2, FaultKind::Pause(pause)), b"reply").await;
    assert_eq!(client.unwrap(), b"reply");
    assert!(start.elapsed() >= pause);
}

#[tokio::test]
async fn a_gate_holds_what_follows_until_it_is_opened() {
    let gate = Gate::new();
    let plan = one(ToClient, 2, FaultKind::Hold(gate.clone()));
    let mut held = tokio::spawn(exchange(plan.clone(), b"reply"));
    let ended = timeout(Duration::from_millis(100), &mut held).await;
    assert!(ended.is_err(), "{ended:?}");
    gate.open();
    // Who comes to an open gate is not held.
    for (client, server) in [held.await.unwrap(), exchange(plan, b"reply").await] {
        assert_eq!((client.unwrap(), server.unwrap()), (b"reply".to_vec(), vec![REQUEST.to_vec()]));
    }
}

#[tokio::test]
async fn a_throttle_spreads_bytes_over_time() {
    let start = Instant::now();
    let throttle = FaultKind::Throttle { bytes_per_s: 10_000 };
    let (client, _) = exchange(one(ToClient, 1_000, throttle), &[7; 3_000]).await;
    assert_eq!(client.unwrap(), [7; 3_000]);
    // 2,000 bytes are four slices of a twentieth of a second: three waits between them.
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_flip_and_a_duplicate_change_what_arrives() {
    let recording = Recording::new();
    let plan = one(ToClient, 1, FaultKind::Flip { mask: 0x20 })
        .with(ToClient, 4, FaultKind::Duplicate { length: 2 })
        .recorded(&recording);
    let (client, server) = exchange(plan, b"reply").await;
    assert_eq!(client.unwrap(), b"rEplply");
    assert_eq!(recording.bytes(), b"reply");
    assert_eq!(server.unwrap(), [REQUEST]);
}

#[tokio::test]
async fn each_connection_has_the_plan_of_its_index() {
    let reply = || Script::new().expect(REQUEST).send("reply").hold();
    let server = ScriptServer::start(vec![reply(), reply()]).await;
    let proxy = ChaosProxy::start(server.addr(), |connection| match connection {
        0 => one(ToClient, 3, FaultKind::Cut),
        _ => Plan::clean(),
    })
    .await;
    let client = || run_client(proxy.addr(), Script::new().send(REQUEST).expect("reply"));
    assert!(is_reset(&client().await.unwrap_err()));
    assert_eq!(client().await.unwrap(), b"reply");
    server.finish().await.unwrap();
    assert_eq!((proxy.connections(), proxy.forwarded(ToClient)), (2, 8));
}

#[tokio::test]
async fn a_reset_by_the_server_reaches_the_client_after_its_last_words() {
    let script = Script::new().expect(REQUEST).send("last").expect("more").reset();
    let server = ScriptServer::start(vec![script]).await;
    let proxy = ChaosProxy::start(server.addr(), |_| Plan::clean()).await;
    let client = Script::new().send(REQUEST).expect("last").send("more").read_to_end();
    assert!(is_reset(&run_client(proxy.addr(), client).await.unwrap_err()));
    server.finish().await.unwrap();
}

#[tokio::test]
async fn a_refusing_server_is_a_reset() {
    let port = ReservedPort::new();
    let proxy = ChaosProxy::start(port.addr(), |_| Plan::clean()).await;
    let error = run_client(proxy.addr(), Script::new().read_to_end()).await.unwrap_err();
    assert!(is_reset(&error), "{error}");
}

#[tokio::test]
async fn forwarded_bytes_can_be_awaited_and_the_proxy_stops_when_dropped() {
    let server = ScriptServer::start(vec![Script::new().send_endless("stream")]).await;
    let proxy = ChaosProxy::start(server.addr(), |_| Plan::clean()).await;
    let addr = proxy.addr();
    let client = tokio::spawn(run_client(addr, Script::new().expect_any(4 << 20).hold()));
    assert!(proxy.wait_forwarded(ToClient, 1 << 20).await >= 1 << 20);
    drop(proxy);
    // The server's stream ends too, and new connections are refused.
    server.finish().await.unwrap();
    within("the end of the client", client).await.unwrap().ok();
    let error = run_client(addr, Script::new()).await.unwrap_err();
    assert_eq!(error.step, 0, "{error}");
}

#[tokio::test]
async fn every_drawn_plan_that_does_not_stall_lets_both_sides_end() {
    let stalls = |plan: &Plan| plan.faults().iter().any(|fault| fault.kind == FaultKind::Stall);
    let mut exchanges = JoinSet::new();
    for seed in 0..100 {
        let plan = Plan::from_seed(seed, 100_000);
        if !stalls(&plan) {
            let reply = random_bytes(100_000, seed);
            exchanges.spawn(async move { (seed, exchange(plan, &reply).await) });
        }
    }
    while let Some(exchanged) = exchanges.join_next().await {
        let (seed, (client, server)) = exchanged.unwrap();
        for error in [client.err(), server.err()].into_iter().flatten() {
            assert!(!matches!(error.failure, Failure::Late(_)), "seed {seed}: {error}");
        }
    }
}
