//! Requests that are well formed: what each is answered, in which order, and what `Cancel` does.

use towline_proto::native::message::{Answer, ErrorCode, Info, Request, Version};
use towline_proto::piece::{PieceHasher, merge};

use super::support::{Frame, MIB, Peer, fetch, hashes, name, stat};
use crate::support::{BIG_BYTES, TestServer};

const SIZE: usize = 3 * MIB + 5;
const PIECES: u32 = 4;

/// More than a server reads ahead.
const MANY: u32 = 200;

fn serving_a_file() -> TestServer {
    let server = TestServer::start();
    server.write("file", (0..=250).cycle().take(SIZE).collect::<Vec<u8>>());
    server
}

fn piece(index: u32, frame: &Frame) -> bool {
    matches!(frame, Frame::Answer(Answer::Piece { index: told, .. }) if *told == index)
}

#[tokio::test]
async fn a_fetch_is_answered_by_each_pieces_bytes_and_then_its_hash() {
    let server = serving_a_file();
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("file").await;
    let content = std::fs::read(server.path("file")).unwrap();
    let (name, version) = (name("file"), info.version.clone());
    peer.ask(&Request::Fetch { name, version, runs: vec![3..4, 1..2] }).await;
    for index in [3, 1] {
        let bytes = info.geometry.piece(index).unwrap();
        let range = usize::try_from(bytes.start).unwrap()..usize::try_from(bytes.end).unwrap();
        assert_eq!(peer.next().await, Frame::Content(range.len()));
        let mut hasher = PieceHasher::new(info.geometry, index).unwrap();
        hasher.update(&content[range]);
        let hash = hasher.finish().unwrap();
        assert_eq!(peer.next().await, Frame::Answer(Answer::Piece { index, hash }));
    }
    assert_eq!(peer.next().await, Frame::Answer(Answer::Done));
    assert_eq!(peer.half_close().await, b"");
    server.finish().await;
}

#[tokio::test]
async fn the_hashes_of_all_pieces_make_up_the_files_blake3() {
    let server = serving_a_file();
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("file").await;
    peer.ask(&hashes("file", &info.version, 0, PIECES)).await;
    let Frame::Answer(Answer::HashList { first: 0, hashes }) = peer.next().await else {
        panic!("no hashes");
    };
    let content = std::fs::read(server.path("file")).unwrap();
    assert_eq!(merge(info.geometry, &hashes), Some(blake3::hash(&content)));
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn pieces_beyond_the_files_are_a_bad_request_and_the_session_goes_on() {
    let server = serving_a_file();
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("file").await;
    for (first, end) in [(PIECES, PIECES + 1), (1 << 19, 1 << 20)] {
        peer.ask(&fetch("file", &info, first, end)).await;
        peer.assert_refused(ErrorCode::BadRequest).await;
    }
    for (first, end) in [(0, PIECES + 1), ((1 << 20) - 1, 1 << 20)] {
        peer.ask(&hashes("file", &info.version, first, end)).await;
        peer.assert_refused(ErrorCode::BadRequest).await;
    }
    peer.stat("file").await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn pieces_asked_for_twice_are_a_bad_request_and_none_is_sent() {
    let server = serving_a_file();
    let mut peer = Peer::greet(&server).await;
    let Info { version, .. } = peer.stat("file").await;
    let beyond = PIECES..PIECES + 1;
    for runs in [vec![2..3, 0..4], vec![1..3, 3..4, 2..3], vec![0..1, 0..1], vec![0..1, beyond]] {
        peer.ask(&Request::Fetch { name: name("file"), version: version.clone(), runs }).await;
        peer.assert_refused(ErrorCode::BadRequest).await;
    }
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn an_empty_file_has_no_piece_to_ask_for() {
    let server = serving_a_file();
    server.write("empty", "");
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("empty").await;
    assert_eq!((info.geometry.count(), info.root), (0, Some(blake3::hash(b""))));
    peer.ask(&fetch("empty", &info, 0, 1)).await;
    peer.assert_refused(ErrorCode::BadRequest).await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_file_truncated_while_a_piece_is_sent_is_refused_as_changed_and_the_session_goes_on() {
    let server = TestServer::start();
    let (path, _) = server.write_big("big");
    let mut peer = Peer::greet_with_small_buffer(&server).await;
    let info = peer.stat("big").await;
    peer.ask(&fetch("big", &info, 0, info.geometry.count())).await;
    assert_eq!(peer.next().await, Frame::Content(MIB));
    std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    let refusal = loop {
        match peer.next().await {
            Frame::Content(MIB) | Frame::Answer(Answer::Piece { .. } | Answer::Heartbeat) => {}
            Frame::Answer(Answer::Error(refusal)) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((refusal.code, refusal.retry), (ErrorCode::Changed, true), "{refusal:?}");
    peer.stat("big").await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn another_version_is_refused_as_changed_and_worth_a_retry() {
    let server = serving_a_file();
    let mut peer = Peer::greet(&server).await;
    let before = peer.stat("file").await;
    let copy = server.path("copy");
    std::fs::copy(server.path("file"), &copy).unwrap();
    std::fs::rename(copy, server.path("file")).unwrap();
    let nothing = Version::new(b"").unwrap();
    for request in [
        fetch("file", &before, 0, 1),
        hashes("file", &before.version, 0, 1),
        hashes("file", &nothing, 0, 1),
    ] {
        peer.ask(&request).await;
        let refusal = peer.refusal().await;
        assert_eq!((refusal.code, refusal.retry), (ErrorCode::Changed, true));
    }
    let now = peer.stat("file").await;
    peer.ask(&fetch("file", &now, 0, 1)).await;
    assert_eq!(peer.next().await, Frame::Content(MIB));
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_change_while_a_piece_is_sent_keeps_its_hash_back() {
    let server = TestServer::start();
    let (path, _) = server.write_big("big");
    let mut peer = Peer::greet_with_small_buffer(&server).await;
    let info = peer.stat("big").await;
    peer.ask(&fetch("big", &info, 0, info.geometry.count())).await;
    assert_eq!(peer.next().await, Frame::Content(MIB));
    let file = std::fs::File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"another", BIG_BYTES - 7).unwrap();
    loop {
        match peer.next().await {
            Frame::Content(_) => {}
            Frame::Answer(Answer::Piece { index, .. }) => assert!(index < 15, "piece {index}"),
            Frame::Answer(Answer::Error(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::Changed);
                break;
            }
            other @ Frame::Answer(_) => panic!("{other:?}"),
        }
    }
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn more_pipelined_requests_than_are_read_ahead_are_all_answered_in_order() {
    let server = serving_a_file();
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("file").await;
    let requests = (0..MANY).flat_map(|round| {
        let asked = hashes("file", &info.version, round % PIECES, round % PIECES + 1);
        [stat("file").encode(), stat("missing").encode(), asked.encode()].concat()
    });
    peer.send(&requests.collect::<Vec<_>>()).await;
    for round in 0..MANY {
        assert!(matches!(peer.next().await, Frame::Answer(Answer::Info(_))));
        peer.assert_refused(ErrorCode::NotFound).await;
        let Frame::Answer(Answer::HashList { first, .. }) = peer.next().await else {
            panic!("no hashes in round {round}");
        };
        assert_eq!(first, round % PIECES);
    }
    assert_eq!(peer.half_close().await, b"");
    server.finish().await;
}

#[tokio::test]
async fn cancel_ends_the_answer_at_hand_drops_what_waits_and_is_answered_itself() {
    let server = TestServer::start();
    server.write_big("big");
    let mut peer = Peer::greet_with_small_buffer(&server).await;
    let info = peer.stat("big").await;
    peer.ask(&fetch("big", &info, 0, info.geometry.count())).await;
    assert_eq!(peer.next().await, Frame::Content(MIB));
    // The server is held back by now, and has all of this before it can go on.
    for request in [stat("big"), stat("missing"), Request::Cancel, stat("big")] {
        peer.ask(&request).await;
    }
    let mut pieces = 0;
    loop {
        match peer.next().await {
            Frame::Content(_) => {}
            frame @ Frame::Answer(_) if piece(pieces, &frame) => pieces += 1,
            Frame::Answer(Answer::Error(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::Cancelled);
                break;
            }
            other @ Frame::Answer(_) => panic!("{other:?}"),
        }
    }
    assert!(pieces < info.geometry.count(), "all pieces came");
    assert!(matches!(peer.next().await, Frame::Answer(Answer::Info(_))));
    assert_eq!(peer.half_close().await, b"");
    server.finish().await;
}

#[tokio::test]
async fn every_cancel_is_answered() {
    let server = serving_a_file();
    let mut peer = Peer::greet(&server).await;
    let cancel = Request::Cancel.encode();
    peer.send(&[&cancel[..], &cancel, &cancel, &stat("file").encode()].concat()).await;
    for _ in 0..3 {
        peer.assert_refused(ErrorCode::Cancelled).await;
    }
    assert!(matches!(peer.next().await, Frame::Answer(Answer::Info(_))));
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_hole_travels_as_its_length() {
    let server = TestServer::start();
    let file = std::fs::File::create(server.path("sparse")).unwrap();
    file.set_len(3 << 20).unwrap();
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("sparse").await;
    peer.ask(&fetch("sparse", &info, 0, 3)).await;
    for index in 0..3 {
        let hole = peer.next().await;
        if hole == Frame::Content(MIB) {
            return towline_testkit::skip("the file system has no holes");
        }
        assert_eq!(hole, Frame::Answer(Answer::Hole { bytes: 1 << 20 }));
        assert!(piece(index, &peer.next().await));
    }
    drop(peer);
    server.finish().await;
}
