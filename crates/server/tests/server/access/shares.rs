//! Several folders under names of their own.

use std::path::PathBuf;

use towline_proto::native::message::tree::{
    Content, Depth, EntryKind, FetchTree, List, Rule, Verdict,
};
use towline_proto::native::message::{Answer, ErrorCode, Request};
use towline_server::config::{Config, Served, Share};
use towline_server::policy::{Action, Effect};
use towline_store::beneath::Links;

use super::support::{People, allow, rule};
use crate::native::support::{Frame, Peer, name, stat};
use crate::support::{Reply, TestServer, acceptor};

/// A server of the shares `data` and `media`; both lie in the folder that tests write to.
fn two_shares() -> TestServer {
    let server = TestServer::start();
    server.write("one/file", "of data");
    server.write("one/sub/deep", "of data");
    server.write("two/film", "of media");
    server.write("beside", "of nobody");
    server.handle.replace_shares(&shares(&server), Links::Refuse).unwrap();
    server
}

fn shares(server: &TestServer) -> Served {
    let share = |called: &str, path: &str| Share { name: name(called), path: server.path(path) };
    Served::Shares(vec![share("data", "one"), share("media", "two")])
}

/// All entries of the listing from the top, page by page.
async fn listed(peer: &mut Peer, depth: Depth, rules: &[Rule], page: u32) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let list = List {
            folder: None,
            after: after.clone(),
            depth,
            rules: rules.to_vec(),
            entries_max: page,
        };
        peer.ask(&Request::List(list)).await;
        let mut has_ended = false;
        loop {
            match peer.next().await {
                Frame::Answer(Answer::Entries(entries)) => {
                    has_ended |= entries.ended;
                    after = entries.entries.last().map(|entry| entry.path.clone()).or(after);
                    all.extend(
                        entries
                            .entries
                            .into_iter()
                            .map(|entry| (entry.path.to_string(), entry.kind == EntryKind::Folder)),
                    );
                }
                Frame::Answer(Answer::Done) => break,
                other => panic!("{other:?}"),
            }
        }
        if has_ended {
            return all;
        }
    }
}

#[tokio::test]
async fn each_share_has_its_name_before_every_path_and_nothing_else_is_served() {
    let server = two_shares();
    assert_eq!(server.ask("data/file").await, Reply::whole("file", "of data"));
    assert_eq!(server.ask("media/film").await, Reply::whole("film", "of media"));
    let mut peer = Peer::greet(&server).await;
    assert_eq!(peer.stat("data/sub/deep").await.geometry.file_bytes(), 7);
    for nowhere in ["file", "media/file", "one/file", "beside", "other/file"] {
        peer.ask(&stat(nowhere)).await;
        peer.assert_refused(ErrorCode::NotFound).await;
    }
    peer.ask(&stat("data")).await;
    peer.assert_refused(ErrorCode::IsFolder).await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn the_top_lists_the_shares_and_what_is_in_them_from_any_path_on() {
    let server = two_shares();
    let mut peer = Peer::greet(&server).await;
    let top = listed(&mut peer, Depth::Folder, &[], 100).await;
    assert_eq!(top, [("data".into(), true), ("media".into(), true)]);
    let whole = ["data", "data/file", "data/sub", "data/sub/deep", "media", "media/film"];
    for page in [100, 1, 2, 3] {
        // On the session that is kept, and on new ones.
        let paths: Vec<_> = listed(&mut peer, Depth::Tree, &[], page).await;
        let paths: Vec<_> = paths.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, whole, "{page} at once");
    }
    let mut other = Peer::greet(&server).await;
    for (number, path) in whole.iter().enumerate() {
        let list = List {
            folder: None,
            after: Some(name(path)),
            depth: Depth::Tree,
            rules: Vec::new(),
            entries_max: 100,
        };
        other.ask(&Request::List(list)).await;
        let Frame::Answer(Answer::Entries(entries)) = other.next().await else { panic!() };
        let paths: Vec<_> = entries.entries.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(paths, whole[number + 1..], "after {path}");
        assert_eq!(other.next().await, Frame::Answer(Answer::Done));
    }
    drop((peer, other));
    server.finish().await;
}

#[tokio::test]
async fn rules_of_a_listing_are_about_paths_from_the_top() {
    let server = two_shares();
    let mut peer = Peer::greet(&server).await;
    let exclude = |pattern: &str| Rule { pattern: pattern.into(), verdict: Verdict::Exclude };
    let paths = listed(&mut peer, Depth::Tree, &[exclude("/data/sub/")], 100).await;
    assert!(!paths.iter().any(|(path, _)| path.starts_with("data/sub")), "{paths:?}");
    let paths = listed(&mut peer, Depth::Tree, &[exclude("/media")], 100).await;
    assert!(!paths.iter().any(|(path, _)| path.starts_with("media")), "{paths:?}");
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn as_many_patterns_as_there_may_be_list_page_after_page() {
    let server = two_shares();
    // Together just below the cap, and each in vain.
    let pattern = |number| Rule {
        verdict: Verdict::Exclude,
        pattern: format!("{}{number:04}", "{a,b}*".repeat(170)),
    };
    let rules: Vec<_> = (0..15).map(pattern).collect();
    let mut peer = Peer::greet(&server).await;
    let paths = listed(&mut peer, Depth::Tree, &rules, 1).await;
    assert_eq!(paths.len(), 6, "{paths:?}");
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn small_files_of_several_shares_come_in_one_request() {
    let server = two_shares();
    let mut peer = Peer::greet(&server).await;
    let files = ["data/file", "media/film", "data/sub/deep", "media/none", "data"];
    let fetch = FetchTree {
        folder: None,
        files: files.iter().map(|file| name(file)).collect(),
        content: Content::HashOnly,
    };
    peer.ask(&Request::FetchTree(fetch)).await;
    for expected in [Some("of data"), Some("of media"), Some("of data"), None, None] {
        let Frame::Answer(Answer::File(file)) = peer.next().await else { panic!() };
        let hash = file.ok().map(|file| file.hash);
        assert_eq!(hash, expected.map(|content| blake3::hash(content.as_bytes())));
    }
    assert_eq!(peer.next().await, Frame::Answer(Answer::Done));
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_share_that_may_not_be_listed_is_not_shown() {
    let server = two_shares();
    let everybody = &["anonymous"];
    let rules = vec![
        allow("/", everybody, &[Action::List]),
        rule("/data", everybody, Effect::Deny, &[Action::List]),
    ];
    server.handle.replace_access(&People::new().access(rules));
    let mut peer = Peer::greet(&server).await;
    let shown = listed(&mut peer, Depth::Tree, &[], 100).await;
    assert_eq!(shown, [("media".into(), true), ("media/film".into(), false)]);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn the_top_shows_whoever_may_list_a_share_just_those_that_they_may() {
    let server = two_shares();
    let only = |share: &str| vec![allow(share, &["anonymous"], &[Action::List])];
    server.handle.replace_access(&People::new().access(only("/media")));
    let mut peer = Peer::greet(&server).await;
    let shown = listed(&mut peer, Depth::Tree, &[], 100).await;
    assert_eq!(shown, [("media".into(), true), ("media/film".into(), false)]);
    server.handle.replace_access(&People::new().access(only("/other")));
    let list = List {
        folder: None,
        after: None,
        depth: Depth::Folder,
        rules: Vec::new(),
        entries_max: 100,
    };
    peer.ask(&Request::List(list)).await;
    peer.assert_refused(ErrorCode::Denied).await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn new_rules_are_never_about_what_was_served_before_them() {
    let server = two_shares();
    let (anybody, people) = (&["anonymous"], People::new());
    let one_file = vec![allow("/media/film", anybody, &[Action::Read])];
    server.handle.replace_access(&people.access(one_file));
    server.write("two/film", vec![7; 64 * 1_024]);
    let mut peer = Peer::greet_with_small_buffer(&server).await;
    let mut files = vec![name("media/film"); 1_000];
    files.push(name("data/file"));
    let asked =
        FetchTree { folder: None, files: files.into_iter().collect(), content: Content::Bytes };
    peer.ask(&Request::FetchTree(asked)).await;
    assert!(matches!(peer.next().await, Frame::Answer(Answer::File(Ok(_)))));
    // The share that was closed to everybody leads elsewhere, and there everybody may read.
    server.write("new/other", "for everybody");
    let mut config = Config::new(PathBuf::new(), acceptor());
    let share = |called: &str, path: &str| Share { name: name(called), path: server.path(path) };
    config.served = Served::Shares(vec![share("data", "new"), share("media", "two")]);
    config.access = people.access(vec![allow("/", anybody, &[Action::Read])]);
    server.handle.replace(&config).unwrap();
    let mut last = None;
    loop {
        match peer.next().await {
            Frame::Answer(Answer::File(file)) => last = Some(file),
            Frame::Answer(Answer::Done) => break,
            _ => {}
        }
    }
    assert_eq!(last.unwrap().unwrap_err().code, ErrorCode::NotFound);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_share_whose_folder_is_replaced_is_opened_anew_and_a_broken_one_keeps_the_old() {
    let server = two_shares();
    std::fs::rename(server.path("one"), server.path("old")).unwrap();
    server.write("one/file", "renewed");
    assert_eq!(server.ask("data/file").await, Reply::whole("file", "of data"));
    server.handle.replace_shares(&shares(&server), Links::Refuse).unwrap();
    assert_eq!(server.ask("data/file").await, Reply::whole("file", "renewed"));
    std::fs::rename(server.path("two"), server.path("gone")).unwrap();
    assert!(server.handle.replace_shares(&shares(&server), Links::Refuse).is_err());
    assert_eq!(server.ask("media/film").await, Reply::whole("film", "of media"));
    server.finish().await;
}
