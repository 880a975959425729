//! Requests that are wrong, cut, slow or too long; replies that nobody takes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towline_proto::limits::CLASSIC_DRAIN_BYTES_MAX;
use towline_testkit::deadline::within;
use towline_testkit::script::{Script, run_client};

use crate::support::{
    End, Reply, TestServer, ask_until_answered, connect_with_small_buffer, read_reply, request,
};

const CONTENT: &str = "the content of the file";

/// A server with one file, called `file`.
fn serving_a_file() -> TestServer {
    let server = TestServer::start();
    server.write("file", CONTENT);
    server
}

async fn still_serves(server: TestServer) {
    assert_eq!(server.ask("file").await, Reply::whole("file", CONTENT));
    server.finish().await;
}

#[tokio::test]
async fn a_name_length_out_of_bounds_is_refused_before_a_byte_of_the_name() {
    let server = serving_a_file();
    for length in [0_u32, 4_097, 0xffff] {
        let (reply, end) = server.exchange(&length.to_be_bytes()).await;
        let text = Reply::of(reply).refusal();
        assert!(text.starts_with("Bad request: "), "{length}: {text}");
        assert_eq!(end, End::Clean, "{length}");
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_refused() {
    let server = serving_a_file();
    std::fs::write(server.outside("secret"), "secret").unwrap();
    std::fs::create_dir(server.path("a")).unwrap();
    let absolute = server.outside("secret");
    for name in [
        absolute.to_str().unwrap(),
        "/etc/passwd",
        "//x",
        "..",
        "../secret",
        "a/../../secret",
        "a/..",
        "a//b",
        "./file",
        "file/",
        "file\0",
        "\0",
    ] {
        let text = server.ask(name).await.refusal();
        assert!(text.starts_with("Bad request: "), "{name:?}: {text}");
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_refused() {
    let server = serving_a_file();
    let overlong_dots = b"\xc0\xae\xc0\xae/secret";
    let surrogate = b"\xed\xa0\x80";
    for name in [overlong_dots.as_slice(), surrogate, b"\xff", b"file\xc3"] {
        let text = server.ask(name).await.refusal();
        assert_eq!(text, "Bad request: the name is not UTF-8");
    }
    still_serves(server).await;
}

#[tokio::test]
async fn percent_signs_are_taken_literally() {
    let server = serving_a_file();
    std::fs::write(server.outside("secret"), "secret").unwrap();
    for name in ["%2e%2e%2fsecret", "%252e%252e%252fsecret", "%00"] {
        let text = server.ask(name).await.refusal();
        assert_eq!(text, format!("File not found: {name}"));
        server.write(name, "literal");
        assert_eq!(server.ask(name).await, Reply::whole(name, "literal"));
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_name_at_each_cap_is_looked_up_and_one_beyond_is_refused() {
    let server = serving_a_file();
    let long = vec!["x".repeat(255); 16].join("/");
    for name in ["x".repeat(255), vec!["d"; 256].join("/"), format!("{}/y", &long[..4_094])] {
        let text = server.ask(&name).await.refusal();
        assert!(text.starts_with("File not found: "), "{name}: {text}");
    }
    for name in ["x".repeat(256), vec!["d"; 257].join("/"), format!("{long}/y")] {
        let text = server.ask(&name).await.refusal();
        assert!(text.starts_with("Bad request: "), "{name}: {text}");
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_refusal_repeats_a_name_escaped() {
    let server = serving_a_file();
    let text = server.ask("\x1b[2J\r\nOK").await.refusal();
    assert_eq!(text, "File not found: \\u{1b}[2J\\r\\nOK");
    still_serves(server).await;
}

#[tokio::test]
async fn a_request_cut_at_any_byte_ends_its_connection() {
    let server = serving_a_file();
    let request = request("file");
    for length in 0..request.len() {
        let begun = Script::new().send(&request[..length]);
        let half_closed = begun.clone().shutdown_write().read_to_end();
        let received = run_client(server.addr, half_closed).await.unwrap();
        assert_eq!(received, b"", "{length}");
        for gone in [begun.clone(), begun.reset()] {
            run_client(server.addr, gone).await.unwrap();
        }
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_reader_that_leaves_at_any_byte_of_the_reply_ends_its_connection() {
    let server = serving_a_file();
    for length in 0..=Reply::header_bytes("file") + CONTENT.len() {
        let script = Script::new().send(request("file")).expect_any(length);
        run_client(server.addr, script).await.unwrap();
    }
    still_serves(server).await;
}

#[tokio::test]
async fn a_request_in_single_bytes_is_served() {
    let server = serving_a_file();
    let mut stream = server.connect().await;
    for byte in request("file") {
        stream.write_all(&[byte]).await.unwrap();
        // The server runs in this thread, and reads the byte before the next is sent.
        tokio::task::yield_now().await;
    }
    assert_eq!(read_reply(&mut stream).await, Reply::whole("file", CONTENT));
    drop(stream);
    still_serves(server).await;
}

#[tokio::test]
async fn an_empty_file_is_served_whole() {
    let server = serving_a_file();
    server.write("empty", "");
    assert_eq!(server.ask("empty").await, Reply::whole("empty", ""));
    still_serves(server).await;
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_the_request_is_served_whole() {
    let server = serving_a_file();
    let (_, content) = server.write_big("big");
    let mut stream = server.connect().await;
    stream.write_all(&request("big")).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(read_reply(&mut stream).await == Reply::whole("big", content));
    still_serves(server).await;
}

#[tokio::test]
async fn junk_after_the_request_does_not_cost_the_reply() {
    let server = serving_a_file();
    let junk = vec![b'!'; CLASSIC_DRAIN_BYTES_MAX - 1];
    let (reply, end) = server.exchange(&[request("file"), junk].concat()).await;
    assert_eq!(Reply::of(reply), Reply::whole("file", CONTENT));
    assert_eq!(end, End::Clean);
    still_serves(server).await;
}

#[tokio::test]
async fn more_junk_than_is_drained_does_not_cost_a_slow_reader_the_reply() {
    let server = TestServer::start();
    let content = vec![7; 256 << 10];
    server.write("file", &content);
    let mut stream = connect_with_small_buffer(server.addr).await;
    stream.write_all(&request("file")).await.unwrap();
    let peer = stream.local_addr().unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let junk = tokio::spawn(async move {
        // Taken in part only, and then refused: either is the server's right.
        let _ = writer.write_all(&vec![b'!'; 64 << 20]).await;
    });
    // From here on the server has the reply behind it, and most of that is still in its socket.
    server.log.wait(&format!("{peer}: sent file")).await;
    let mut reply = Vec::new();
    let read = within("the reply", reader.read_to_end(&mut reply)).await;
    assert_eq!(Reply::of(reply), Reply::whole("file", content), "{read:?}");
    junk.abort();
    server.shutdown.cut();
    server.ended().await;
}

#[tokio::test]
async fn a_request_that_never_becomes_whole_is_closed_at_its_deadline() {
    let server = TestServer::start_with(|config| {
        config.deadlines.request = Duration::from_millis(100);
    });
    let begun = &request([b'x'; 4_096])[..7];
    let received = run_client(server.addr, Script::new().send(begun).read_to_end());
    assert_eq!(received.await.unwrap(), b"");
    server.log.wait("sent no whole request in time").await;
    server.finish().await;
}

#[tokio::test]
async fn a_request_that_drips_is_closed_at_its_deadline() {
    let server = TestServer::start_with(|config| {
        config.deadlines.request = Duration::from_millis(100);
    });
    // Dripped to its end it would take well over a minute.
    let drip = Script::new().send_slowly(request([b'x'; 4_096]), Duration::from_millis(20));
    let dripping = run_client(server.addr, drip.hold());
    assert_eq!(within("the close", dripping).await.unwrap(), b"");
    server.log.wait("sent no whole request in time").await;
    server.finish().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_and_others_are_served_meanwhile() {
    let server = TestServer::start_with(|config| {
        // Long enough for a reader on a busy machine to take something.
        config.deadlines.write_stall = Duration::from_secs(3);
    });
    server.write("file", CONTENT);
    server.write_big("big");
    let held = server.hold_back("big").await;
    assert_eq!(server.ask("file").await, Reply::whole("file", CONTENT));
    server.log.wait("the peer took no byte").await;
    assert!(held.release().await.is_cut());
    server.finish().await;
}

#[tokio::test]
async fn a_peer_that_does_not_close_after_its_reply_is_closed_at_its_deadline() {
    let server = TestServer::start_with(|config| {
        config.deadlines.close = Duration::from_millis(100);
        config.limits.connections = 1;
    });
    server.write("file", CONTENT);
    let mut lingering = server.connect().await;
    lingering.write_all(&request("file")).await.unwrap();
    assert_eq!(read_reply(&mut lingering).await, Reply::whole("file", CONTENT));
    let reply = ask_until_answered(server.addr, "file").await;
    assert_eq!(reply, Reply::whole("file", CONTENT));
    server.finish().await;
}
