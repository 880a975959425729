//! The script peers against each other: what each step does, and how a failure is told.

use std::time::{Duration, Instant};

use towline_testkit::script::{Failure, Script, ScriptError, ScriptServer, run_client};

/// Runs a script against another; returns what the client and the server have.
async fn meet(
    client: Script,
    server: Script,
) -> (Result<Vec<u8>, ScriptError>, Result<Vec<Vec<u8>>, ScriptError>) {
    let server = ScriptServer::start(vec![server]).await;
    (run_client(server.addr(), client).await, server.finish().await)
}

#[tokio::test]
async fn both_sides_return_all_bytes_that_came() {
    let (client, server) = meet(
        Script::new().send("question").shutdown_write().read_to_end(),
        Script::new().expect("quest").expect_any(3).read_to_end().send("answer"),
    )
    .await;
    assert_eq!(client.unwrap(), b"answer");
    assert_eq!(server.unwrap(), [b"question"]);
}

#[tokio::test]
async fn other_bytes_fail_at_once_and_are_shown() {
    // The server waits for ten bytes; the two that come suffice to tell.
    let (_, server) =
        meet(Script::new().send("01").hold(), Script::new().send("").expect("0x23456789")).await;
    let error = server.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("connection 0, step 2 (expect 10 bytes): byte 1 of 10 differs"),
        "{text}"
    );
    assert!(text.contains("received 30 31"), "{text}");
    assert_eq!(error.received, b"01");
}

#[tokio::test]
async fn an_early_end_says_how_much_came() {
    let (_, server) = meet(Script::new().send("abc"), Script::new().expect("abcd")).await;
    let error = server.unwrap_err();
    assert!(matches!(error.failure, Failure::Ended { got_bytes: 3, wanted_bytes: 4 }), "{error}");
}

#[tokio::test]
async fn a_step_past_its_deadline_fails() {
    let impatient = Script::new().deadline(Duration::from_millis(50)).expect("x");
    let (client, _) = meet(impatient, Script::new().hold()).await;
    assert!(matches!(client.unwrap_err().failure, Failure::Late(_)));
}

#[tokio::test]
async fn an_endless_stream_ends_when_the_peer_closes() {
    let (client, server) =
        meet(Script::new().expect_any(1 << 20), Script::new().send_endless("abc")).await;
    assert!(client.unwrap().starts_with(b"abcabc"));
    server.unwrap();
}

#[tokio::test]
async fn an_endless_stream_fails_where_the_peer_takes_it_all() {
    let server = ScriptServer::start(vec![Script::new().send_endless([0; 1_000])]).await;
    let addr = server.addr();
    let sink = tokio::spawn(async move {
        let mut stream = tokio::net::TcpStream::connect(addr).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    });
    let error = server.finish().await.unwrap_err();
    assert!(matches!(error.failure, Failure::StillOpen(_)), "{error}");
    sink.await.unwrap().ok();
}

#[tokio::test]
async fn a_slow_send_takes_its_time() {
    let every = Duration::from_millis(20);
    let slow = Script::new().send_slowly([1; 10], every);
    let start = Instant::now();
    let (client, server) = meet(slow, Script::new().expect([1; 10]).read_to_end()).await;
    client.unwrap();
    server.unwrap();
    assert!(start.elapsed() >= 10 * every);
}

#[tokio::test]
async fn a_slow_send_ends_when_the_peer_closes() {
    let slow = Script::new().send_slowly([1; 10_000], Duration::from_millis(10));
    let (client, server) = meet(slow, Script::new().expect_any(2)).await;
    client.unwrap();
    assert_eq!(server.unwrap(), [[1, 1]]);
}

#[tokio::test]
async fn a_reset_is_not_an_end() {
    let (client, server) =
        meet(Script::new().read_to_end(), Script::new().send("some").reset()).await;
    let error = client.unwrap_err();
    assert!(matches!(error.failure, Failure::Io(_)), "{error}");
    server.unwrap();
}

#[tokio::test]
async fn a_hold_outlasts_a_reset() {
    let (client, server) = meet(Script::new().hold(), Script::new().reset()).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn scripts_run_side_by_side_and_then_connections_are_refused() {
    let server = ScriptServer::start(vec![
        Script::new().expect("first").send("1"),
        Script::new().expect("second").send("2"),
    ])
    .await;
    let addr = server.addr();
    // The first connection says nothing before the second is done.
    let mut first = tokio::net::TcpStream::connect(addr).await.unwrap();
    let second = Script::new().send("second").expect("2").read_to_end();
    run_client(addr, second).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut first, b"first").await.unwrap();
    assert_eq!(server.finish().await.unwrap(), [&b"first"[..], b"second"]);
    assert_eq!(run_client(addr, Script::new()).await.unwrap_err().step, 0);
}

#[tokio::test]
async fn the_first_failure_is_told_though_a_connection_is_missing() {
    let server =
        ScriptServer::start(vec![Script::new().expect("right"), Script::new().expect("right")])
            .await;
    run_client(server.addr(), Script::new().send("wrong").hold()).await.unwrap();
    let error = server.finish().await.unwrap_err();
    assert!(matches!(error.failure, Failure::Differs(_)), "{error}");
}

#[tokio::test]
async fn a_flood_is_not_kept_without_bound() {
    let (_, server) =
        meet(Script::new().send_endless([0; 1_000]), Script::new().read_to_end()).await;
    let error = server.unwrap_err();
    assert!(matches!(error.failure, Failure::TooMuch(_)), "{error}");
}
