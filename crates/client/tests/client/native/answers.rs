//! What a server says before and instead of content is checked: prefaces, descriptions, frames, refusals.

use towline_client::native::{Failure, OtherService, SessionError};
use towline_proto::limits::{CONTROL_BYTES_MAX, FILE_BYTES_MAX};
use towline_proto::native::frame::{FrameError, Kind, control};
use towline_proto::native::message::{Answer, ErrorCode, Info, MessageError, Request, Version};
use towline_proto::native::preface::{Capabilities, PREFACE_BYTES, Preface, PrefaceError};
use towline_proto::piece::Geometry;
use towline_store::staged::StageError;
use towline_testkit::script::{Script, ScriptServer};

use super::support::{
    CONTENT, Fetch, asked_for_content, described, fails, fetch_from, fetch_request, greeted, info,
    piece_hash, refusal, version, whole_answer,
};
use crate::support::assert_holds;

#[tokio::test]
async fn an_honest_server_is_believed() {
    let (fetch, result) = fetch_from(asked_for_content().send(whole_answer()).hold()).await;
    assert_eq!(result.unwrap().root, blake3::hash(CONTENT));
    assert_holds(fetch.target(), CONTENT);
}

#[tokio::test]
async fn another_protocols_greeting_is_no_preface() {
    for (greeting, service) in [
        (&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], Some(OtherService::Web)),
        (b"ERROR: a refusal of some other protocol", Some(OtherService::Classic)),
        (&[0; PREFACE_BYTES], None),
    ] {
        let is_told = |error: &SessionError| match error {
            SessionError::AnotherService(found) => Some(*found) == service,
            SessionError::Preface(PrefaceError::Magic) => service.is_none(),
            _ => false,
        };
        fails(greeted().send(greeting).hold(), is_told).await;
    }
}

#[tokio::test]
async fn a_version_or_demand_that_is_not_spoken_is_final() {
    let mut other_version = Preface::OURS.encode();
    other_version[4] = 2;
    let crc = crc32c::crc32c(&other_version[..16]).to_be_bytes();
    other_version[16..].copy_from_slice(&crc);
    let demanding = Preface { required: Capabilities(1), ..Preface::OURS }.encode();
    for preface in [other_version, demanding] {
        let server = ScriptServer::start(vec![greeted().send(preface).hold()]).await;
        let mut fetch = Fetch::new(server.addr());
        fetch.options.backoff.retries = 3;
        let failure = fetch.run().await.unwrap_err().failure;
        assert!(matches!(failure, Failure::Session { attempts: 1, .. }), "{failure:?}");
        server.finish().await.unwrap();
    }
}

#[tokio::test]
async fn garbage_in_a_frames_place_is_refused() {
    let damaged = {
        let mut frame = Answer::Info(info(CONTENT)).encode();
        frame[12] ^= 1;
        frame
    };
    let long = control(Kind::Info, &vec![0; CONTROL_BYTES_MAX + 1]);
    for (bytes, expected) in [
        (vec![0xff; 64], FrameError::Kind(0xff)),
        (damaged, FrameError::Damaged),
        (long, FrameError::TooLong { length: 65_537 }),
    ] {
        let script = greeted().send(Preface::OURS.encode()).send(bytes).hold();
        fails(script, |error| matches!(error, SessionError::Frame(told) if *told == expected))
            .await;
    }
}

#[tokio::test]
async fn a_message_in_no_place_of_its_own_is_refused() {
    for bytes in [
        Request::Cancel.encode(),
        Answer::Done.encode(),
        Answer::Hole { bytes: 1 }.encode(),
        super::support::data(b"x"),
        control(Kind::Info, b"\xff\xff"),
    ] {
        let script = greeted().send(Preface::OURS.encode()).send(bytes).hold();
        let is_refused = |error: &SessionError| {
            matches!(error, SessionError::OutOfPlace | SessionError::Message(_))
        };
        fails(script, is_refused).await;
    }
}

#[tokio::test]
async fn a_size_that_no_file_has_is_refused() {
    // Field 2, the size, as a varint of all ones: 2^64 - 1; and 2^63.
    let all_ones = [&b"\x10"[..], &[0xff; 9], &[0x01]].concat();
    let sign = [&b"\x10"[..], &[0x80; 9], &[0x01]].concat();
    for payload in [all_ones, sign] {
        let info = control(Kind::Info, &payload);
        let script = greeted().send(Preface::OURS.encode()).send(info).hold();
        let is_size =
            |error: &SessionError| matches!(error, SessionError::Message(MessageError::Size(_)));
        fails(script, is_size).await;
    }
}

#[tokio::test]
async fn a_size_beyond_the_disk_is_told_before_content_comes() {
    let huge = Geometry::of(FILE_BYTES_MAX).unwrap();
    for stored_bytes in [FILE_BYTES_MAX, u64::MAX] {
        let info = Info { geometry: huge, stored_bytes, ..info(CONTENT) };
        let (fetch, result) = fetch_from(described(&Answer::Info(info)).hold()).await;
        let failure = result.unwrap_err().failure;
        assert!(matches!(failure, Failure::Stage(StageError::NoSpace { .. })), "{failure:?}");
        assert_eq!(std::fs::read_dir(fetch.options.folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_refusal_is_final_unless_it_says_otherwise() {
    for (retry, scripts) in [(false, 1), (true, 3)] {
        let script = described(&refusal(ErrorCode::Other(99), "not today", retry)).hold();
        let server = ScriptServer::start(vec![script; scripts]).await;
        let mut fetch = Fetch::new(server.addr());
        fetch.options.backoff.retries = 2;
        let failure = fetch.run().await.unwrap_err().failure;
        let tried = u32::try_from(scripts).unwrap();
        assert!(matches!(failure, Failure::Session { attempts, .. } if attempts == tried));
        server.finish().await.unwrap();
    }
}

#[tokio::test]
async fn escape_sequences_in_a_refusal_are_defused() {
    let text = "\x1b]0;owned\x07\r\n\u{9b}2J\u{202e}done";
    let script = described(&refusal(ErrorCode::NotFound, text, false)).hold();
    let told = fetch_from(script).await.1.unwrap_err().to_string();
    assert!(!told.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{told:?}");
    assert!(told.contains("owned"), "{told}");
}

#[tokio::test]
async fn a_source_that_is_another_version_each_time_is_given_up() {
    let versions = 0..16;
    let scripts = versions.map(|number: u8| {
        let version = Version::new(&[number]).unwrap();
        let request = Request::Fetch {
            name: super::support::name(),
            version: version.clone(),
            runs: std::iter::once(0..1).collect(),
        };
        described(&Answer::Info(Info { version, ..info(CONTENT) }))
            .expect(request.encode())
            .send(refusal(ErrorCode::Changed, "changed", true).encode())
            .hold()
    });
    let server = ScriptServer::start(scripts.collect()).await;
    let fetch = Fetch::new(server.addr());
    let failure = fetch.run().await.unwrap_err().failure;
    assert!(matches!(failure, Failure::KeepsChanging), "{failure:?}");
    assert!(!fetch.target().exists());
    server.finish().await.unwrap();
}

/// A server that is asked for the hashes, since a file of that size is there already.
fn asked_for_hashes() -> Script {
    let name = super::support::name();
    let request = Request::Hashes { name, version: version(), pieces: 0..1 };
    described(&Answer::Info(info(CONTENT))).expect(request.encode())
}

#[tokio::test]
async fn hashes_that_were_not_asked_for_are_refused() {
    let hash = piece_hash(CONTENT, 0);
    for answer in [
        Answer::HashList { first: 1, hashes: vec![hash] },
        Answer::HashList { first: 0, hashes: vec![hash; 2] },
        Answer::Piece { index: 0, hash },
        Answer::Done,
    ] {
        let server =
            ScriptServer::start(vec![asked_for_hashes().send(answer.encode()).hold()]).await;
        let fetch = Fetch::new(server.addr());
        std::fs::write(fetch.target(), vec![b'x'; CONTENT.len()]).unwrap();
        let failure = fetch.run().await.unwrap_err().failure;
        let Failure::Session { error: SessionError::OutOfPlace, .. } = failure else {
            panic!("{failure:?}");
        };
        server.finish().await.unwrap();
    }
}

#[tokio::test]
async fn heartbeats_are_borne_wherever_an_answer_is_awaited() {
    let alive = Answer::Heartbeat.encode().repeat(100);
    let script = greeted()
        .send([&Preface::OURS.encode()[..], &alive].concat())
        .send([Answer::Info(info(CONTENT)).encode(), alive.clone()].concat())
        .expect(fetch_request(0, 1))
        .send([alive, whole_answer()].concat());
    let (fetch, result) = fetch_from(script.hold()).await;
    result.unwrap();
    assert_holds(fetch.target(), CONTENT);
}
