//! Bytes that are no session, no frame or no request end the connection at once, and nothing else.

use towline_proto::limits::{CONTROL_BYTES_MAX, DATA_BYTES_MAX};
use towline_proto::native::frame::data_header;
use towline_proto::native::message::{Answer, ErrorCode, Refusal, Request, Version};
use towline_proto::native::preface::{Capabilities, PREFACE_BYTES, Preface};
use towline_testkit::script::{Script, run_client};

use super::support::{MIB, Peer, frame, header, stat};
use crate::support::{End, TestServer};

fn serving_a_file() -> TestServer {
    let server = TestServer::start();
    server.write("file", vec![7; MIB + 5]);
    server
}

async fn still_serves(server: TestServer) {
    assert_eq!(Peer::greet(&server).await.stat("file").await.geometry.count(), 2);
    server.finish().await;
}

/// A preface with its checksum made right.
fn preface_with(change: impl FnOnce(&mut [u8])) -> [u8; PREFACE_BYTES] {
    let mut bytes = Preface::OURS.encode();
    let (fields, crc) = bytes.split_at_mut(PREFACE_BYTES - 4);
    change(fields);
    crc.copy_from_slice(&crc32c::crc32c(fields).to_be_bytes());
    bytes
}

/// A valid request, sent after which nothing comes but the end.
async fn ends_the_session(server: &TestServer, bytes: &[u8]) {
    let mut peer = Peer::greet(server).await;
    peer.send(bytes).await;
    let beginning = &bytes[..bytes.len().min(40)];
    assert_eq!(peer.ended().await, b"", "after {}", beginning.escape_ascii());
}

#[tokio::test]
async fn a_frame_above_its_cap_is_refused_before_its_payload() {
    let server = serving_a_file();
    let control = u32::try_from(CONTROL_BYTES_MAX).unwrap() + 1;
    let data = u32::try_from(DATA_BYTES_MAX).unwrap() + 1;
    for (length, kind) in [(control, 0x01), (u32::MAX, 0x02), (control, 0x04), (data, 0x40)] {
        ends_the_session(&server, &header(length, kind, 0)).await;
    }
    server.log.wait("more than its kind may have").await;
    still_serves(server).await;
}

#[tokio::test]
async fn a_frame_of_an_unknown_kind_ends_the_session() {
    let server = serving_a_file();
    // The reserved ones are not spoken yet.
    for kind in [0x00, 0x07, 0x0b, 0x3f, 0x7f, 0x8a, 0xff] {
        ends_the_session(&server, &frame(kind, b"")).await;
    }
    server.log.wait("unknown kind").await;
    still_serves(server).await;
}

#[tokio::test]
async fn an_answer_or_content_in_a_requests_place_ends_the_session() {
    let server = serving_a_file();
    for kind in [0x40, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89] {
        ends_the_session(&server, &frame(kind, b"")).await;
    }
    still_serves(server).await;
}

#[tokio::test]
async fn what_only_servers_send_is_refused_before_its_payload() {
    let server = serving_a_file();
    ends_the_session(&server, &data_header(DATA_BYTES_MAX)).await;
    let control = u32::try_from(CONTROL_BYTES_MAX).unwrap();
    for kind in [0x81, 0x84, 0x88] {
        ends_the_session(&server, &header(control, kind, 0)).await;
    }
    server.log.wait("in a request's place").await;
    still_serves(server).await;
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_request_ends_the_session() {
    let server = serving_a_file();
    let request = stat("file").encode();
    for bit in 0..request.len() * 8 {
        let mut flipped = request.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut peer = Peer::greet(&server).await;
        peer.send(&flipped).await;
        // A length that grew waits for bytes; the end of them is as good.
        assert_eq!(peer.half_close().await, b"", "bit {bit}");
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_malformed_message_ends_the_session() {
    let server = serving_a_file();
    let version = Version::new(b"v").unwrap();
    let bad_runs = |first, end| {
        let pieces = std::iter::once(first..end).collect();
        let name = super::support::name("file");
        Request::Fetch { name, version: version.clone(), runs: pieces }.encode()
    };
    for bytes in [
        frame(0x01, b"\xff\xff\xff"),
        frame(0x01, b""),
        frame(0x02, b""),
        frame(0x03, b"\x0a\x04file"),
        frame(0x01, b"\x0a\xff\xff\xff\xff\x0f"),
        bad_runs(0, 0),
        bad_runs(0, (1 << 20) + 1),
        bad_runs(u32::MAX - 1, u32::MAX),
    ] {
        ends_the_session(&server, &bytes).await;
    }
    still_serves(server).await;
}

#[tokio::test]
async fn another_protocol_inside_a_session_ends_it() {
    let server = serving_a_file();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x00\x00\x00\x04file, and a little more",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &Preface::OURS.encode(),
    ] {
        ends_the_session(&server, bytes).await;
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_request_cut_at_any_byte_ends_its_connection() {
    let server = serving_a_file();
    let whole = [&Preface::OURS.encode()[..], &stat("file").encode()].concat();
    for length in 0..whole.len() {
        let begun = Script::new().send(&whole[..length]);
        let half_closed = begun.clone().shutdown_write().read_to_end();
        let received = run_client(server.addr, half_closed).await.unwrap();
        assert!(received.len() <= PREFACE_BYTES, "{length}: {received:?}");
        for gone in [begun.clone(), begun.reset()] {
            run_client(server.addr, gone).await.unwrap();
        }
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_reader_that_leaves_at_any_byte_of_an_answer_ends_its_connection() {
    let server = serving_a_file();
    let whole = [&Preface::OURS.encode()[..], &stat("file").encode()].concat();
    for length in 0..PREFACE_BYTES + 40 {
        let script = Script::new().send(&whole[..]).expect_any(length);
        run_client(server.addr, script).await.unwrap();
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_preface_of_junk_is_answered_by_nothing_but_a_preface() {
    let server = serving_a_file();
    let mut damaged = Preface::OURS.encode();
    damaged[12] ^= 1;
    let junk = [&b"\xf7TOW"[..], &[0xff; 16]].concat();
    for bytes in [&damaged[..], &junk] {
        let (received, end) = server.exchange(bytes).await;
        assert!(received.is_empty() || received == Preface::OURS.encode(), "{received:?}");
        assert_eq!(end, End::Clean);
    }
    still_serves(server).await;
}

#[tokio::test]
async fn an_unknown_version_or_demand_is_told_that_it_is_unsupported() {
    let server = serving_a_file();
    let demanding = Preface { required: Capabilities(1 << 31), ..Preface::OURS }.encode();
    for preface in [preface_with(|fields| fields[4] = 2), demanding] {
        let (received, end) = server.exchange(&preface).await;
        let (ours, error) = received.split_at(PREFACE_BYTES);
        assert_eq!(ours, Preface::OURS.encode());
        let Answer::Error(Refusal { code, retry, .. }) = decode(error) else {
            panic!("{error:?}");
        };
        assert_eq!((code, retry, end), (ErrorCode::Unsupported, false, End::Clean));
    }
    still_serves(server).await;
}

fn decode(bytes: &[u8]) -> Answer {
    use towline_proto::native::frame::{HEADER_BYTES, Header};
    let (header, payload) = bytes.split_at(HEADER_BYTES);
    let header = Header::decode(header.try_into().unwrap()).unwrap();
    header.check(payload).unwrap();
    Answer::decode(header.kind, payload).unwrap()
}

#[tokio::test]
async fn unknown_offers_and_reserved_bytes_do_not_hinder() {
    let server = serving_a_file();
    let offering = Preface { offered: Capabilities(u32::MAX), ..Preface::OURS }.encode();
    for preface in [offering, preface_with(|fields| fields[7] = 0xff)] {
        let script = Script::new().send(preface).send(stat("file").encode());
        let answered = script.expect(Preface::OURS.encode()).expect_any(20);
        run_client(server.addr, answered).await.unwrap();
    }
    still_serves(server).await;
}
