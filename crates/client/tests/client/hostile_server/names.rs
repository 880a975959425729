//! What the server calls the file decides nothing: it is the one asked for, or the attempt fails.

use towline_client::classic::AttemptError;
use towline_proto::classic::ReplyError;

use crate::support::{NOTHING_LEFT, answering, asked, assert_holds, fetch_from, reply};

#[tokio::test]
async fn a_reply_about_another_file_is_refused_and_leaves_nothing() {
    let elsewhere = [
        "other",
        "../x",
        "../sub/file",
        "/etc/passwd",
        "/sub/file",
        "sub/../file",
        "./sub/file",
        "sub//file",
        "sub",
        "sub/",
        "FILE",
        "file\0",
        "",
    ];
    for named in elsewhere {
        let (fetch, outcome) =
            fetch_from(answering("sub/file", reply(named, b"evil")), "sub/file").await;
        assert!(
            matches!(outcome.cause(), AttemptError::WrongName(name) if name == named),
            "{named:?}: {}",
            outcome.error()
        );
        assert_eq!(fetch.tree(), NOTHING_LEFT, "{named:?}");
    }
}

#[tokio::test]
async fn an_escape_sequence_in_the_name_is_told_defused() {
    let named = "\x1b]0;owned\x07\x1b[2Jfile\r\n\u{202e}";
    let (_fetch, outcome) = fetch_from(answering("file", reply(named, b"")), "file").await;
    let message = outcome.error().to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(!message.contains('\u{202e}'), "{message:?}");
    assert!(message.contains(r"\u{1b}]0;owned\u{7}\u{1b}[2Jfile\r\n"), "{message}");
}

#[tokio::test]
async fn the_whole_name_or_its_last_component_is_saved_where_it_was_asked_for() {
    for named in ["a/b/file", "file"] {
        let (fetch, outcome) =
            fetch_from(answering("a/b/file", reply(named, b"content")), "a/b/file").await;
        let path = fetch.home().join("downloads/a/b/file");
        assert_eq!(outcome.downloaded().path, path);
        assert_holds(path, b"content");
        let tree = ["downloads/", "downloads/a/", "downloads/a/b/", "downloads/a/b/file"];
        assert_eq!(fetch.tree(), tree, "{named}");
    }
}

#[tokio::test]
async fn a_name_length_beyond_the_cap_is_told_before_the_name_comes() {
    for length in [4_097, 1 << 16, 1 << 31, u32::MAX] {
        let start = [b"OK".as_slice(), &length.to_be_bytes()].concat();
        let (fetch, outcome) = fetch_from(asked("file").send(start).hold(), "file").await;
        assert!(
            matches!(outcome.cause(), AttemptError::Reply(ReplyError::NameTooLong(told)) if *told == length),
            "{}",
            outcome.error()
        );
        assert_eq!(fetch.tree(), NOTHING_LEFT);
    }
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_refused() {
    let mut bytes = reply("file", b"");
    bytes[6] = 0xff;
    let (_fetch, outcome) = fetch_from(answering("file", bytes), "file").await;
    assert!(
        matches!(outcome.cause(), AttemptError::Reply(ReplyError::NotUtf8)),
        "{}",
        outcome.error()
    );
}
