//! Nothing but regular files below the root is described or sent, by whatever name it is asked for.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use towline_proto::native::message::{ErrorCode, Version};
use towline_testkit::skip;

use super::support::{Peer, fetch, frame, hashes, stat};
use crate::support::TestServer;

const SECRET: &str = "secret";

fn with_a_secret_outside() -> TestServer {
    let server = TestServer::start();
    fs::write(server.outside("secret"), SECRET).unwrap();
    server.write("sub/file", "inside");
    server
}

/// No request tells more of `name` than that it is not there.
async fn is_not_found(server: &TestServer, name: &str) {
    let mut peer = Peer::greet(server).await;
    let inside = peer.stat("sub/file").await;
    let nothing = Version::new(b"").unwrap();
    for request in [stat(name), fetch(name, &inside, 0, 1), hashes(name, &nothing, 0, 1)] {
        peer.ask(&request).await;
        let refusal = peer.refusal().await;
        assert_eq!((refusal.code, refusal.retry), (ErrorCode::NotFound, false), "{name}");
        assert_eq!(refusal.text, format!("no such file: {name}"));
    }
    // The session goes on.
    peer.stat("sub/file").await;
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_ends_the_session() {
    let server = with_a_secret_outside();
    let absolute = server.outside("secret");
    for name in [
        absolute.to_str().unwrap(),
        "/etc/passwd",
        "//x",
        "..",
        "../secret",
        "sub/../../secret",
        "sub/..",
        "sub//file",
        "./sub/file",
        "sub/file/",
        "sub/file\0",
        "",
        ".file.towline-part",
        "sub/.file.towline-part",
        ".file.journal.towline-part",
    ] {
        let length = u8::try_from(name.len()).unwrap();
        let payload = [&[0x0a, length][..], name.as_bytes()].concat();
        for kind in [0x01, 0x02, 0x03] {
            let mut peer = Peer::greet(&server).await;
            peer.send(&frame(kind, &payload)).await;
            assert_eq!(peer.ended().await, b"", "{name:?}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn no_link_is_followed_wherever_it_leads() {
    let server = with_a_secret_outside();
    for (link, target) in [
        ("leaf", "../secret"),
        ("up", ".."),
        ("inside", "sub"),
        ("inside-leaf", "sub/file"),
        ("magic", "/proc/self/root/etc/passwd"),
        ("loop", "loop"),
        ("dangling", "nowhere"),
    ] {
        symlink(target, server.path(link)).unwrap();
    }
    for name in
        ["leaf", "up/secret", "inside/file", "inside-leaf", "magic", "loop", "dangling", "missing"]
    {
        is_not_found(&server, name).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn special_files_are_not_found_and_nobody_hangs() {
    let server = with_a_secret_outside();
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, server.path("fifo"), FileType::Fifo, mode, 0).unwrap();
    let _socket = UnixListener::bind(server.path("socket")).unwrap();
    for name in ["fifo", "socket", "sub/file/below"] {
        is_not_found(&server, name).await;
    }
    let mut peer = Peer::greet(&server).await;
    peer.ask(&stat("sub")).await;
    peer.assert_refused(ErrorCode::IsFolder).await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_device_is_not_found() {
    let server = with_a_secret_outside();
    let mode = Mode::RUSR | Mode::WUSR;
    // Reading it would never end.
    let zero = makedev(1, 5);
    if mknodat(CWD, server.path("zero"), FileType::CharacterDevice, mode, zero).is_err() {
        return skip("this needs the right to make devices");
    }
    is_not_found(&server, "zero").await;
    server.finish().await;
}

#[tokio::test]
async fn a_refusal_repeats_a_name_escaped() {
    let server = with_a_secret_outside();
    let mut peer = Peer::greet(&server).await;
    peer.ask(&stat("\x1b[2J\r\nx")).await;
    assert_eq!(peer.refusal().await.text, "no such file: \\u{1b}[2J\\r\\nx");
    drop(peer);
    server.finish().await;
}
