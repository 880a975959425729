//! Every phase of a session ends: slow peers, idle ones, those that take nothing; and who waits hears something.

use std::time::Duration;

use towline_proto::native::message::Answer;
use towline_proto::native::preface::Preface;
use towline_testkit::script::{Script, run_client};

use super::support::{Frame, MIB, Peer, fetch, hashes, stat};
use crate::support::TestServer;

const SHORT: Duration = Duration::from_millis(100);

/// Long enough for a reader on a busy machine to take something.
const STALL_MAX: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_preface_that_drips_is_closed_at_its_deadline() {
    let server = TestServer::start_with(|config| config.deadlines.request = SHORT);
    let drip = Script::new().send(b"\xf7TOW").send_slowly([0; 16], Duration::from_millis(50));
    assert_eq!(run_client(server.addr, drip.hold()).await.unwrap(), b"");
    server.log.wait("it was late with the rest of a request").await;
    server.finish().await;
}

#[tokio::test]
async fn a_frame_that_drips_is_closed_at_its_deadline() {
    let server = TestServer::start_with(|config| config.deadlines.request = SHORT);
    let request = stat(&"x".repeat(200)).encode();
    for begun in [1, 5, 9, 20] {
        let (begun, rest) = request.split_at(begun);
        let drip = Script::new()
            .send(Preface::OURS.encode())
            .send(begun)
            .send_slowly(rest, Duration::from_millis(20));
        let received = run_client(server.addr, drip.hold()).await.unwrap();
        assert_eq!(received, Preface::OURS.encode());
    }
    server.log.wait("it was late with the rest of a request").await;
    server.finish().await;
}

#[tokio::test]
async fn a_session_that_asks_for_nothing_is_closed_at_its_deadline() {
    let server = TestServer::start_with(|config| config.deadlines.idle = SHORT);
    server.write("file", "content");
    let mut peer = Peer::greet(&server).await;
    peer.stat("file").await;
    assert_eq!(peer.ended().await, b"");
    server.log.wait("nothing was asked for a while").await;
    server.finish().await;
}

#[tokio::test]
async fn an_idle_session_does_not_hold_up_the_shutdown() {
    let server = TestServer::start();
    let peer = Peer::greet(&server).await;
    server.shutdown.drain();
    assert_eq!(peer.ended().await, b"");
    server.ended().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_and_others_are_served_meanwhile() {
    let server = TestServer::start_with(|config| config.deadlines.write_stall = STALL_MAX);
    server.write_big("big");
    let mut held = Peer::greet_with_small_buffer(&server).await;
    let info = held.stat("big").await;
    held.ask(&fetch("big", &info, 0, info.geometry.count())).await;
    assert_eq!(held.next().await, Frame::Content(MIB));
    let mut other = Peer::greet(&server).await;
    other.ask(&fetch("big", &info, 0, info.geometry.count())).await;
    let mut pieces = 0;
    loop {
        match other.next().await {
            Frame::Answer(Answer::Done) => break,
            Frame::Answer(Answer::Piece { .. }) => pieces += 1,
            Frame::Content(_) => {}
            other @ Frame::Answer(_) => panic!("{other:?}"),
        }
    }
    assert_eq!(pieces, info.geometry.count());
    drop(other);
    server.log.wait("could not be sent").await;
    let rest = held.ended().await;
    assert!(rest.len() < 15 * MIB, "{} bytes came", rest.len());
    server.finish().await;
}

#[tokio::test]
async fn heartbeats_come_while_hashes_are_computed() {
    const PIECES: u32 = 1_024;
    let server =
        TestServer::start_with(|config| config.deadlines.heartbeat = Duration::from_millis(50));
    let file = std::fs::File::create(server.path("sparse")).unwrap();
    file.set_len(u64::from(PIECES) << 20).unwrap();
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("sparse").await;
    peer.ask(&hashes("sparse", &info.version, 0, PIECES)).await;
    let mut heartbeats = 0;
    loop {
        match peer.next().await {
            Frame::Answer(Answer::Heartbeat) => heartbeats += 1,
            Frame::Answer(Answer::HashList { hashes, .. }) => {
                assert_eq!(hashes.len(), PIECES as usize);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // A gibibyte takes longer than that to hash, and none of its pieces does.
    assert!(heartbeats > 0);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn heartbeats_come_while_a_large_piece_is_hashed_after_its_content() {
    const PIECES: u32 = 8;
    let server =
        TestServer::start_with(|config| config.deadlines.heartbeat = Duration::from_millis(1));
    let file = std::fs::File::create(server.path("sparse")).unwrap();
    // Pieces of 16 MiB, each a hole.
    if file.set_len(10 << 40).is_err() {
        return towline_testkit::skip("the file system has no files of 10 TiB");
    }
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("sparse").await;
    peer.ask(&fetch("sparse", &info, 0, PIECES)).await;
    let (mut hashed, mut heartbeats, mut is_between) = (0, 0, false);
    loop {
        match peer.next().await {
            Frame::Answer(Answer::Hole { bytes }) => {
                assert_eq!(bytes, 16 << 20);
                is_between = true;
            }
            Frame::Answer(Answer::Heartbeat) if is_between => heartbeats += 1,
            Frame::Answer(Answer::Heartbeat) => {}
            Frame::Answer(Answer::Piece { index, .. }) => {
                assert_eq!(index, hashed);
                hashed += 1;
                is_between = false;
            }
            Frame::Answer(Answer::Done) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(hashed, PIECES);
    assert!(heartbeats > 0);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_peer_that_leaves_while_hashes_are_computed_ends_the_work() {
    let server =
        TestServer::start_with(|config| config.deadlines.heartbeat = Duration::from_millis(20));
    // Hashing all of it would take longer than the test may.
    let file = std::fs::File::create(server.path("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("sparse").await;
    for first in (0..32).map(|run| run * 1_024) {
        peer.ask(&hashes("sparse", &info.version, first, first + 1_024)).await;
    }
    assert_eq!(peer.next().await, Frame::Answer(Answer::Heartbeat));
    drop(peer);
    server.finish().await;
}
