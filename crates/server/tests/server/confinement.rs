//! Nothing outside the served folder is ever sent, whatever is asked for and whoever moves links.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use towline_store::beneath::Links;
use towline_testkit::skip;

use crate::support::{Reply, TestServer};

const SECRET: &str = "secret";

/// Requests made while names are swapped.
const SWAPPED_REQUESTS: usize = 2_000;

/// A server with `sub/file` inside, `secret` and `folder/file` outside, and links of every kind.
fn with_links(links: Links) -> TestServer {
    let server = TestServer::start_with(|config| config.links = links);
    fs::write(server.outside("secret"), SECRET).unwrap();
    fs::create_dir(server.outside("folder")).unwrap();
    fs::write(server.outside("folder/file"), SECRET).unwrap();
    server.write("sub/file", "inside");
    for (link, target) in [
        ("leaf", "../secret"),
        ("up", ".."),
        ("folder", "../folder"),
        ("inside", "sub"),
        ("inside-leaf", "sub/file"),
        ("sub/up-and-in", "../sub/file"),
        ("magic", "/proc/self/root/etc/passwd"),
        ("loop", "loop"),
        ("dangling", "nowhere"),
    ] {
        symlink(target, server.path(link)).unwrap();
    }
    symlink(server.outside("secret"), server.path("absolute")).unwrap();
    symlink(server.path("sub/file"), server.path("absolute-inside")).unwrap();
    server
}

async fn is_not_found(server: &TestServer, name: &str) {
    let text = server.ask(name).await.refusal();
    assert_eq!(text, format!("File not found: {name}"));
}

#[tokio::test]
async fn no_link_is_followed_wherever_it_leads() {
    let server = with_links(Links::Refuse);
    for name in [
        "leaf",
        "up/secret",
        "folder/file",
        "absolute",
        "absolute-inside",
        "inside/file",
        "inside-leaf",
        "sub/up-and-in",
        "magic",
        "loop",
        "dangling",
    ] {
        is_not_found(&server, name).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_link_that_is_not_followed_is_explained_in_the_log_alone() {
    let server = with_links(Links::Refuse);
    is_not_found(&server, "inside-leaf").await;
    let line = server.log.wait("asked for inside-leaf").await;
    assert!(line.contains("`follow_symlinks`"), "{line}");
    server.finish().await;
}

#[tokio::test]
async fn links_inside_are_followed_where_that_is_allowed() {
    let server = with_links(Links::FollowInside);
    for (name, answered) in
        [("inside/file", "file"), ("inside-leaf", "inside-leaf"), ("sub/up-and-in", "up-and-in")]
    {
        assert_eq!(server.ask(name).await, Reply::whole(answered, "inside"));
    }
    server.finish().await;
}

#[tokio::test]
async fn links_out_are_not_followed_where_those_inside_are() {
    let server = with_links(Links::FollowInside);
    for name in [
        "leaf",
        "up/secret",
        "folder/file",
        "absolute",
        "absolute-inside",
        "magic",
        "loop",
        "dangling",
    ] {
        is_not_found(&server, name).await;
    }
    server.finish().await;
}

/// Exchanges two names again and again until dropped.
struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapping {
    fn begin(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let swap = move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        };
        Self { stop, thread: Some(std::thread::spawn(swap)) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is joined once");
        let swapped = thread.join();
        assert!(std::thread::panicking() || swapped.is_ok());
    }
}

/// Asks for `name` while `one` and `other` change places.
async fn never_leaks_while_swapping(links: Links, name: &str, one: &str, other: &str) {
    let server = with_links(links);
    server.write("leaf-file", "inside");
    let answered = Path::new(name).file_name().unwrap().to_str().unwrap();
    let _swapping = Swapping::begin(server.path(one), server.path(other));
    for _ in 0..SWAPPED_REQUESTS {
        match server.ask(name).await {
            Reply::Refused(text) => assert_eq!(text, format!("File not found: {name}")),
            // To be renamed is a change, too: the client is to try again.
            Reply::Cut(received) => assert!(!received.contains(SECRET), "{received:?}"),
            reply => assert_eq!(reply, Reply::whole(answered, "inside")),
        }
    }
}

#[tokio::test]
async fn a_folder_swapped_with_a_link_leads_out_for_no_request() {
    never_leaks_while_swapping(Links::Refuse, "sub/file", "sub", "folder").await;
}

#[tokio::test]
async fn a_folder_swapped_with_a_link_leads_out_for_no_request_where_links_are_followed() {
    never_leaks_while_swapping(Links::FollowInside, "sub/file", "sub", "folder").await;
}

#[tokio::test]
async fn a_file_swapped_with_a_link_leads_out_for_no_request() {
    never_leaks_while_swapping(Links::Refuse, "leaf-file", "leaf-file", "leaf").await;
}

#[tokio::test]
async fn a_file_swapped_with_a_link_leads_out_for_no_request_where_links_are_followed() {
    never_leaks_while_swapping(Links::FollowInside, "leaf-file", "leaf-file", "leaf").await;
}

#[tokio::test]
async fn a_folder_a_fifo_and_a_socket_are_not_found_without_hanging() {
    let server = TestServer::start();
    fs::create_dir(server.path("folder")).unwrap();
    let fifo = server.path("fifo");
    mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = UnixListener::bind(server.path("socket")).unwrap();
    for name in ["folder", "fifo", "socket", "fifo/below"] {
        is_not_found(&server, name).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_device_is_not_found() {
    let server = TestServer::start();
    let zero = rustix::fs::makedev(1, 5);
    let mode = Mode::RUSR | Mode::WUSR;
    let path = server.path("zero");
    if let Err(errno) = mknodat(CWD, path, FileType::CharacterDevice, mode, zero) {
        return skip(&format!("no device can be made here: {errno}"));
    }
    is_not_found(&server, "zero").await;
    server.finish().await;
}

#[tokio::test]
async fn whatever_is_not_served_looks_the_same() {
    let server = with_links(Links::Refuse);
    let fifo = server.path("fifo");
    mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for name in ["missing", "leaf", "sub", "fifo", "sub/file/x", "up/secret"] {
        let text = server.ask(name).await.refusal();
        assert_eq!(text.replace(name, "NAME"), "File not found: NAME");
    }
    server.finish().await;
}

#[tokio::test]
async fn an_unfinished_transfer_is_not_fetched() {
    let server = TestServer::start();
    for name in [".x.towline-part", "sub/.x.towline-part"] {
        server.write(name, "unfinished");
        server.ask(name).await.refusal();
    }
    server.finish().await;
}

#[tokio::test]
async fn a_file_that_appears_while_the_server_runs_is_served() {
    let server = TestServer::start();
    is_not_found(&server, "new/file").await;
    server.write("new/file", "content");
    assert_eq!(server.ask("new/file").await, Reply::whole("file", "content"));
    server.finish().await;
}

#[tokio::test]
async fn a_file_in_a_sub_folder_is_answered_by_its_last_component() {
    let server = TestServer::start();
    server.write("a/b/c.txt", "content");
    let reply = server.ask("a/b/c.txt").await;
    assert_eq!(reply, Reply::whole("c.txt", "content"));
    server.finish().await;
}

#[tokio::test]
async fn the_served_folder_stays_the_one_that_was_opened() {
    let server = TestServer::start();
    server.write("file", "inside");
    is_not_found(&server, "missing").await;
    fs::rename(server.path(""), server.outside("moved")).unwrap();
    symlink(server.outside(""), server.outside("root")).unwrap();
    fs::write(server.outside("secret"), SECRET).unwrap();
    assert_eq!(server.ask("file").await, Reply::whole("file", "inside"));
    is_not_found(&server, "secret").await;
    server.finish().await;
}
