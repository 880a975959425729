//! What the server says of the content is checked: its size against the disk, its bytes against the MD5.

use towline_client::classic::AttemptError;
use towline_proto::classic::{Header, ReplyError};
use towline_store::staged::StageError;
use towline_testkit::script::ScriptServer;

use crate::support::{
    Fetch, NOTHING_LEFT, Told, answering, asked, assert_holds, fetch_from, header, md5, reply,
};

/// The start of a reply that declares `size` bytes.
fn declaring(size: u64) -> Vec<u8> {
    Header { size, ..header("file", b"") }.encode()
}

#[tokio::test]
async fn a_size_that_no_file_has_is_refused() {
    for size in [u64::MAX, 1 << 63] {
        let (fetch, outcome) = fetch_from(asked("file").send(declaring(size)).hold(), "file").await;
        assert!(
            matches!(outcome.cause(), AttemptError::Reply(ReplyError::SizeTooLarge(told)) if *told == size),
            "{}",
            outcome.error()
        );
        assert_eq!(fetch.tree(), NOTHING_LEFT);
    }
}

#[tokio::test]
async fn a_size_beyond_the_free_space_is_told_before_content_comes_and_is_final() {
    for size in [i64::MAX as u64, 1 << 60] {
        let server = ScriptServer::start(vec![asked("file").send(declaring(size)).hold()]).await;
        let fetch = Fetch::new(server.addr(), "file").retries(3);
        let outcome = fetch.run().await;
        server.finish().await.unwrap();
        assert!(
            matches!(outcome.cause(), AttemptError::Stage(StageError::NoSpace { needed_bytes, .. }) if *needed_bytes == size),
            "{}",
            outcome.error()
        );
        assert_eq!(outcome.error().attempts, 1);
        assert_eq!(fetch.tree(), NOTHING_LEFT);
    }
}

#[tokio::test]
async fn bytes_beyond_the_declared_size_are_ignored() {
    let bytes = [reply("file", b"declared"), b" and more".to_vec()].concat();
    // The excess may go unread, so that closing resets the connection.
    let (fetch, outcome) = fetch_from(asked("file").send(bytes).hold(), "file").await;
    assert_eq!(outcome.downloaded().size, 8);
    assert_holds(&outcome.downloaded().path, b"declared");
    assert_eq!(fetch.tree(), ["downloads/", "downloads/file"]);
}

#[tokio::test]
async fn endless_content_ends_at_the_declared_size() {
    let content = b"0123456789".repeat(100_000);
    let script = asked("file").send(header("file", &content).encode()).send_endless("0123456789");
    let (_fetch, outcome) = fetch_from(script, "file").await;
    assert_holds(&outcome.downloaded().path, &content);
    let received: u64 = outcome
        .told
        .iter()
        .map(|told| match told {
            Told::Received { bytes } => *bytes,
            _ => 0,
        })
        .sum();
    assert_eq!(received, 1_000_000);
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let (_fetch, outcome) = fetch_from(answering("file", reply("file", b"")), "file").await;
    assert_holds(&outcome.downloaded().path, b"");
}

#[tokio::test]
async fn a_checksum_that_is_not_hexadecimal_is_refused() {
    for digits in ["x".repeat(32), " ".repeat(32), "\0".repeat(32)] {
        let mut bytes = header("file", b"").encode();
        let start = bytes.len() - 32;
        bytes[start..].copy_from_slice(digits.as_bytes());
        let (fetch, outcome) = fetch_from(answering("file", bytes), "file").await;
        assert!(
            matches!(outcome.cause(), AttemptError::Reply(ReplyError::Md5(_))),
            "{}",
            outcome.error()
        );
        assert_eq!(fetch.tree(), NOTHING_LEFT);
    }
}

#[tokio::test]
async fn a_checksum_in_upper_case_is_as_good() {
    let mut bytes = header("file", b"content").encode();
    let start = bytes.len() - 32;
    bytes[start..].make_ascii_uppercase();
    bytes.extend_from_slice(b"content");
    let (_fetch, outcome) = fetch_from(answering("file", bytes), "file").await;
    assert_holds(&outcome.downloaded().path, b"content");
}

#[tokio::test]
async fn a_checksum_that_lies_is_found_each_time_and_the_old_file_stays() {
    let lie = [
        header("file", b"what was promised").encode(),
        b"what was deliver".to_vec(),
        b"?".to_vec(),
    ]
    .concat();
    let script = answering("file", lie);
    let server = ScriptServer::start(vec![script; 3]).await;
    let fetch = Fetch::new(server.addr(), "file").retries(2);
    std::fs::write(fetch.downloads().join("file"), "old").unwrap();
    let outcome = fetch.run().await;
    server.finish().await.unwrap();
    let AttemptError::Mismatch { declared, computed } = outcome.cause() else {
        panic!("{}", outcome.error());
    };
    assert_eq!(*declared, md5(b"what was promised"));
    assert_eq!(*computed, md5(b"what was deliver?"));
    assert_eq!(outcome.error().attempts, 3);
    assert!(!outcome.told.iter().any(|told| matches!(told, Told::Verified(_))));
    assert_eq!(fetch.tree(), ["downloads/", "downloads/file"]);
    assert_holds(fetch.downloads().join("file"), b"old");
}
