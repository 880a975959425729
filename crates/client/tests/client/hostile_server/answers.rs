//! Answers that are none: refusals, silence, early ends, other protocols.

use std::time::Duration;

use towline_client::classic::{AttemptError, Phase};
use towline_proto::classic::ReplyError;
use towline_proto::limits::CLASSIC_ERROR_BYTES_MAX;
use towline_testkit::script::ScriptServer;

use crate::support::{
    Fetch, NOTHING_LEFT, answering, asked, assert_holds, fetch_from, header, reply, side_by_side,
};

/// Long enough for a busy machine to say what it has to say, and short enough to be waited for.
const SILENCE_MAX: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_refusal_is_final_and_told_in_the_servers_words() {
    let server = ScriptServer::start(vec![answering("file", "ERROR: File not found\n")]).await;
    let fetch = Fetch::new(server.addr(), "file").retries(3);
    let outcome = fetch.run().await;
    server.finish().await.unwrap();
    assert!(matches!(outcome.cause(), AttemptError::Refused(_)));
    assert_eq!(outcome.error().attempts, 1);
    assert!(outcome.retries().is_empty());
    let message = outcome.error().to_string();
    assert!(message.ends_with("the server answered: : File not found"), "{message}");
    assert_eq!(fetch.tree(), NOTHING_LEFT);
}

#[tokio::test]
async fn an_endless_refusal_is_capped_and_its_escape_sequences_are_defused() {
    let script = asked("file").send("ERROR").send_endless("\x1b[31m\x07\r\nno ");
    let (_fetch, outcome) = fetch_from(script, "file").await;
    let AttemptError::Refused(text) = outcome.cause() else {
        panic!("{}", outcome.error());
    };
    assert_eq!(text.len(), CLASSIC_ERROR_BYTES_MAX);
    let message = outcome.error().to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(message.contains(r"\u{1b}[31m\u{7}\r\nno "), "{message}");
}

#[tokio::test]
async fn a_refusal_that_breaks_off_is_told_as_far_as_it_came() {
    let script = asked("file").send("ERROR").send("no su").hold();
    let server = ScriptServer::start(vec![script]).await;
    let fetch = Fetch::new(server.addr(), "file").silence_max(SILENCE_MAX);
    let outcome = fetch.run().await;
    server.finish().await.unwrap();
    assert!(
        matches!(outcome.cause(), AttemptError::Refused(text) if text == b"no su"),
        "{}",
        outcome.error()
    );
}

#[tokio::test]
async fn a_close_without_a_byte_is_tried_again() {
    let server =
        ScriptServer::start(vec![asked("file"), answering("file", reply("file", b"now"))]).await;
    let fetch = Fetch::new(server.addr(), "file").retries(1);
    let outcome = fetch.run().await;
    server.finish().await.unwrap();
    assert_eq!(outcome.downloaded().attempts, 2);
    assert!(
        outcome.retries()[0].error.contains("a server that is full does that"),
        "{:?}",
        outcome.retries()
    );
    assert_holds(&outcome.downloaded().path, b"now");
}

#[tokio::test]
async fn another_protocol_is_told_as_such() {
    let greetings: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"EHLO\x1b[2J",
    ];
    for greeting in greetings {
        let (fetch, outcome) = fetch_from(asked("file").send(greeting).hold(), "file").await;
        assert!(
            matches!(outcome.cause(), AttemptError::Reply(ReplyError::NotClassic(first)) if greeting.starts_with(first)),
            "{}",
            outcome.error()
        );
        let message = outcome.error().to_string();
        assert!(message.ends_with("is that a classic server?"), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
        assert_eq!(fetch.tree(), NOTHING_LEFT);
    }
}

#[tokio::test]
async fn a_server_that_drips_is_waited_for_longer_than_silence_would_be() {
    // Sixty bytes and more, of which each is in time and all together are not.
    let bytes = reply("file", b"drop by drop");
    let (every, silence_max) = (Duration::from_millis(100), Duration::from_secs(5));
    assert!(every * u32::try_from(bytes.len()).unwrap() > silence_max);
    let server = ScriptServer::start(vec![asked("file").send_slowly(bytes, every).hold()]).await;
    let fetch = Fetch::new(server.addr(), "file").silence_max(silence_max);
    let outcome = fetch.run().await;
    server.finish().await.unwrap();
    assert_holds(&outcome.downloaded().path, b"drop by drop");
}

/// A server that falls silent after `sent` bytes of its reply.
async fn silence_after(sent: usize, expected: Phase) {
    let bytes = reply("file", b"content")[..sent].to_vec();
    let server = ScriptServer::start(vec![asked("file").send(bytes).hold()]).await;
    let fetch = Fetch::new(server.addr(), "file").silence_max(SILENCE_MAX);
    let outcome = fetch.run().await;
    assert!(
        matches!(outcome.cause(), AttemptError::Silent { phase, after }
            if *phase == expected && *after == SILENCE_MAX),
        "after {sent} bytes: {}",
        outcome.error()
    );
    assert_eq!(fetch.tree(), NOTHING_LEFT);
}

#[tokio::test]
async fn silence_ends_at_its_limit_after_every_byte_of_the_header() {
    let length = header("file", b"content").encode().len();
    side_by_side((0..length).map(|sent| silence_after(sent, Phase::Reply))).await;
}

#[tokio::test]
async fn silence_ends_at_its_limit_within_the_content() {
    let length = reply("file", b"content").len();
    side_by_side((length - 7..length).map(|sent| silence_after(sent, Phase::Content))).await;
}
