//! Listings and small files: what is told, in which order, and what is never led to.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::task::JoinSet;
use towline_net::stream::Stream;
use towline_proto::limits::ENTRIES_MAX;
use towline_proto::native::message::tree::{
    Content, Depth, Entries, EntryKind, FetchTree, List, Rule, Verdict,
};
use towline_proto::native::message::{Answer, ErrorCode, Request};

use super::support::{Frame, MIB, Peer, frame, name};
use crate::support::{TestServer, connect_from, count_open_below};

fn list(folder: Option<&str>, after: Option<&str>, entries_max: u32) -> List {
    let (folder, after) = (folder.map(name), after.map(name));
    List { folder, after, depth: Depth::Tree, rules: Vec::new(), entries_max }
}

fn fetch(folder: Option<&str>, files: &[&str]) -> Request {
    let files = files.iter().map(|file| name(file)).collect();
    Request::FetchTree(FetchTree { folder: folder.map(name), files, content: Content::Bytes })
}

/// The paths that a listing tells, and whether it says that there are no more.
async fn listed(peer: &mut Peer, list: List) -> (Vec<String>, bool) {
    peer.ask(&Request::List(list)).await;
    let (mut paths, mut has_ended) = (Vec::new(), false);
    loop {
        match peer.next().await {
            Frame::Answer(Answer::Entries(Entries { entries, ended })) => {
                assert!(!has_ended, "nothing comes after the end");
                paths.extend(entries.iter().map(|entry| entry.path.to_string()));
                has_ended = ended;
            }
            Frame::Answer(Answer::Done) => return (paths, has_ended),
            Frame::Answer(Answer::Heartbeat) => {}
            other => panic!("no listing: {other:?}"),
        }
    }
}

/// What became of each file: how many bytes came, or why not.
async fn fetched(peer: &mut Peer, request: &Request) -> Vec<Result<usize, ErrorCode>> {
    peer.ask(request).await;
    received(peer).await
}

async fn received(peer: &mut Peer) -> Vec<Result<usize, ErrorCode>> {
    let mut files = Vec::new();
    loop {
        match peer.next().await {
            Frame::Answer(Answer::File(Ok(file))) => {
                if file.size > 0 {
                    assert_eq!(peer.next().await, Frame::Content(file.size));
                }
                files.push(Ok(file.size));
            }
            Frame::Answer(Answer::File(Err(refusal))) => files.push(Err(refusal.code)),
            Frame::Answer(Answer::Done) => return files,
            Frame::Answer(Answer::Heartbeat) => {}
            other => panic!("no file: {other:?}"),
        }
    }
}

fn with_a_tree() -> TestServer {
    let server = TestServer::start();
    for path in ["a/b/1", "a/b/2", "a/c", "a.x", "d/e"] {
        server.write(path, path);
    }
    server.write(".d.towline-part", "unfinished");
    fs::create_dir(server.path("empty")).unwrap();
    server
}

const TREE: [&str; 9] = ["a", "a/b", "a/b/1", "a/b/2", "a/c", "a.x", "d", "d/e", "empty"];

#[tokio::test]
async fn a_tree_is_listed_in_order_and_goes_on_from_any_entry_on_any_session() {
    let server = with_a_tree();
    let mut peer = Peer::greet(&server).await;
    assert_eq!(
        listed(&mut peer, list(None, None, 100)).await,
        (TREE.map(String::from).into(), true)
    );
    // On the session that has begun it, page by page.
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let (page, has_ended) = listed(&mut peer, list(None, after.as_deref(), 2)).await;
        after = page.last().cloned();
        all.extend(page);
        if has_ended {
            break;
        }
    }
    assert_eq!(all, TREE);
    for (index, entry) in TREE.iter().enumerate() {
        let mut other = Peer::greet(&server).await;
        let (rest, has_ended) = listed(&mut other, list(None, Some(entry), 100)).await;
        assert_eq!((&rest[..], has_ended), (&TREE.map(String::from)[index + 1..], true), "{entry}");
    }
    let below = listed(&mut peer, list(Some("a"), None, 100)).await;
    assert_eq!(below.0, ["b", "b/1", "b/2", "c"]);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn rules_leave_out_and_a_bad_one_is_refused_by_name() {
    let server = with_a_tree();
    let mut peer = Peer::greet(&server).await;
    let rule = |verdict, pattern: &str| Rule { verdict, pattern: pattern.into() };
    for (rules, paths) in [
        (vec![rule(Verdict::Exclude, "b/")], &["a", "a/c", "a.x", "d", "d/e", "empty"][..]),
        (vec![rule(Verdict::Include, "c")], &["a", "a/b", "a/c", "d", "empty"]),
        (
            vec![rule(Verdict::Exclude, "/*"), rule(Verdict::Include, "/a*")],
            &["a", "a/b", "a/b/1", "a/b/2", "a/c", "a.x"],
        ),
    ] {
        let list = List { rules, ..list(None, None, 100) };
        assert_eq!(listed(&mut peer, list).await.0, paths);
    }
    let bad = List { rules: vec![rule(Verdict::Exclude, "[z-a]")], ..list(None, None, 100) };
    peer.ask(&Request::List(bad)).await;
    let refusal = peer.refusal().await;
    assert!(refusal.code == ErrorCode::BadRequest && refusal.text.contains("[z-a]"), "{refusal:?}");
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_listing_that_finds_nothing_for_long_goes_on_to_its_end() {
    let server = TestServer::start();
    for number in 0..10_000 {
        server.write(&format!("left out/{number}"), "");
    }
    server.write("rest/file", "");
    let rules = vec![Rule { verdict: Verdict::Exclude, pattern: "/left out/*".into() }];
    let mut peer = Peer::greet(&server).await;
    for (entries_max, expected) in [(1, &["rest"][..]), (100, &["rest", "rest/file"])] {
        let list = List { rules: rules.clone(), ..list(None, Some("left out"), entries_max) };
        let (paths, has_ended) = listed(&mut peer, list).await;
        assert_eq!(paths, expected);
        assert_eq!(has_ended, entries_max > 1);
    }
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn listings_that_stand_still_keep_few_folders_open_and_go_on_all_the_same() {
    const DEPTH: usize = 200;
    let server = TestServer::start();
    let deepest = vec!["d"; DEPTH].join("/");
    server.write(&format!("{deepest}/file"), "");
    let mut peers = Vec::new();
    for _ in 0..10 {
        let mut peer = Peer::greet(&server).await;
        let (paths, _) = listed(&mut peer, list(None, None, 200)).await;
        assert_eq!(paths.last(), Some(&deepest));
        peers.push(peer);
    }
    let open = count_open_below(&server.path(""));
    assert!(open < 2 * DEPTH, "{open} folders are open");
    for mut peer in peers {
        let rest = listed(&mut peer, list(None, Some(&deepest), 200)).await;
        assert_eq!(rest, (vec![format!("{deepest}/file")], true));
    }
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_folder_is_not_listed() {
    let server = with_a_tree();
    fs::create_dir(server.outside("elsewhere")).unwrap();
    symlink(server.outside("elsewhere"), server.path("link")).unwrap();
    let mut peer = Peer::greet(&server).await;
    for (folder, code) in [
        ("a.x", ErrorCode::NotFolder),
        ("nothing", ErrorCode::NotFound),
        ("link", ErrorCode::NotFound),
        ("a/c/below", ErrorCode::NotFound),
    ] {
        peer.ask(&Request::List(list(Some(folder), None, 1))).await;
        peer.assert_refused(code).await;
    }
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn links_and_special_files_are_told_and_not_followed() {
    let server = with_a_tree();
    symlink("../secret", server.path("out")).unwrap();
    mknodat(CWD, server.path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut peer = Peer::greet(&server).await;
    peer.ask(&Request::List(list(None, Some("empty"), 100))).await;
    let Frame::Answer(Answer::Entries(Entries { entries, .. })) = peer.next().await else {
        panic!("no entries");
    };
    let kinds: Vec<_> = entries.into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Link { target: b"../secret".to_vec() }, EntryKind::Other]);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn one_file_that_cannot_be_sent_does_not_stop_the_rest() {
    let server = with_a_tree();
    server.write("nothing in it", "");
    server.write("just small", vec![1; MIB]);
    server.write("too large", vec![1; MIB + 1]);
    symlink("a.x", server.path("link")).unwrap();
    symlink("a", server.path("linked")).unwrap();
    mknodat(CWD, server.path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut peer = Peer::greet(&server).await;
    let asked = [
        "a/b/1",
        "a",
        "missing",
        "a/c",
        "link",
        "linked/c",
        "pipe",
        "nothing in it",
        "just small",
        "too large",
        "d/e",
    ];
    assert_eq!(
        fetched(&mut peer, &fetch(None, &asked)).await,
        [
            Ok(5),
            Err(ErrorCode::IsFolder),
            Err(ErrorCode::NotFound),
            Ok(3),
            Err(ErrorCode::NotFound),
            Err(ErrorCode::NotFound),
            Err(ErrorCode::NotFound),
            Ok(0),
            Ok(MIB),
            Err(ErrorCode::TooLarge),
            Ok(3),
        ]
    );
    peer.ask(&fetch(Some("nowhere"), &["x"])).await;
    peer.assert_refused(ErrorCode::NotFound).await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn as_many_files_as_a_request_holds_are_sent_and_one_more_ends_the_session() {
    let server = TestServer::start();
    server.write("f", "content");
    let mut peer = Peer::greet(&server).await;
    let files = fetched(&mut peer, &fetch(None, &[&"f"; ENTRIES_MAX].map(|file| *file))).await;
    assert!(files.len() == ENTRIES_MAX && files.iter().all(|file| *file == Ok(7)));
    drop(peer);
    // Paths of one byte, as towline.proto numbers them.
    let path = [0x12, 3, 0x12, 1, b'f'];
    for payload in [path.repeat(ENTRIES_MAX + 1), vec![]] {
        let mut peer = Peer::greet(&server).await;
        peer.send(&frame(0x06, &payload)).await;
        assert!(peer.ended().await.is_empty());
    }
    server.finish().await;
}

#[tokio::test]
async fn slow_readers_of_small_files_hold_up_no_other_source_and_get_them_all_in_the_end() {
    const FILES: usize = 2;
    let server = TestServer::start();
    server.write("file", vec![1; MIB]);
    let request = fetch(None, &["file"; FILES]);
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut peer = Peer::greet_with_small_buffer(&server).await;
        peer.ask(&request).await;
        slow.push(peer);
    }
    let other = Ipv4Addr::new(127, 0, 0, 2).into();
    let mut other = Peer::over(Stream::plain(connect_from(other, server.addr).await)).await;
    assert_eq!(fetched(&mut other, &request).await, [Ok(MIB); FILES]);
    let mut receiving = JoinSet::new();
    for mut peer in slow {
        receiving.spawn(async move { received(&mut peer).await });
    }
    for files in receiving.join_all().await {
        assert_eq!(files, [Ok(MIB); FILES]);
    }
    drop(other);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_swapped_with_a_link_leads_out_for_no_file_of_a_tree() {
    const SWAPS: u32 = 200;
    let server = TestServer::start();
    server.write("folder/file", "inside");
    fs::create_dir(server.outside("elsewhere")).unwrap();
    fs::write(server.outside("elsewhere/file"), "a secret outside").unwrap();
    let (ended, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (folder, aside, elsewhere) =
        (server.path("folder"), server.path("aside"), server.outside("elsewhere"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for _ in 0..SWAPS {
                    fs::rename(&folder, &aside).unwrap();
                    symlink(&elsewhere, &folder).unwrap();
                    fs::remove_file(&folder).unwrap();
                    fs::rename(&aside, &folder).unwrap();
                }
                // Now and then it stands still for a whole round.
                let round = rounds.load(Ordering::Relaxed);
                while rounds.load(Ordering::Relaxed) < round + 2 && !ended.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            }
        });
        let asking = async {
            let mut peer = Peer::greet(&server).await;
            let mut inside = 0;
            for _ in 0..300 {
                rounds.fetch_add(1, Ordering::Relaxed);
                for file in fetched(&mut peer, &fetch(None, &["folder/file"; 20])).await {
                    assert!(file != Ok(16), "a file outside was sent");
                    inside += usize::from(file == Ok(6));
                }
                let (paths, _) = listed(&mut peer, list(None, None, 100)).await;
                assert!(!paths.iter().any(|path| path.contains("elsewhere")));
            }
            inside
        };
        let runtime = tokio::runtime::Handle::current();
        let inside = tokio::task::block_in_place(|| runtime.block_on(asking));
        ended.store(true, Ordering::Relaxed);
        assert!(inside > 0);
    });
    server.finish().await;
}
