//! What is capped is shared fairly, over sessions and protocols.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use towline_proto::native::message::tree::{Content, FetchTree};
use towline_proto::native::message::{Answer, Request};
use towline_server::auth::credentials::PasswordEntry;
use towline_server::auth::password;
use towline_server::config::{Served, Share};
use towline_server::policy::Action;
use towline_server::rates::Caps;
use towline_store::beneath::Links;

use super::support::{PASSWORD, People, allow, with_password};
use crate::native::support::{Frame, MIB, Peer, fetch, name};
use crate::support::{TestServer, request};

const RATE: u64 = 4 << 20;

/// A server with one large file and these caps.
fn capped(people: &People, caps: Caps) -> TestServer {
    let access = people.access(vec![allow("/", &["anonymous"], &[Action::Read])]);
    let server = TestServer::start_with(|config| {
        config.access = access;
        config.caps = caps;
    });
    server.write("file", vec![7; 64 * MIB]);
    server
}

/// Bytes of content that come to a peer until the time is over.
async fn received(mut peer: Peer, time: Duration) -> u64 {
    let info = peer.stat("file").await;
    peer.ask(&fetch("file", &info, 0, 64)).await;
    let mut bytes = 0;
    let _ = timeout(time, async {
        loop {
            match peer.next().await {
                Frame::Content(length) => bytes += length as u64,
                Frame::Answer(Answer::Done) => return,
                Frame::Answer(_) => {}
            }
        }
    })
    .await;
    bytes
}

#[tokio::test]
async fn a_user_with_eight_connections_gets_no_more_than_one_with_one() {
    let mut people = People::new();
    let bobs = PasswordEntry { user: "bob".into(), hash: password::hash(PASSWORD).unwrap() };
    people.credentials.password.push(bobs);
    let server = capped(&people, Caps { total: Some(RATE), ..Caps::default() });
    let mut peers = Vec::new();
    for number in 0..9 {
        let mut peer = Peer::greet_encrypted(&server).await;
        let is_ann = number == 0;
        let user = if is_ann { "ann" } else { "bob" };
        peer.ask(&Request::LogIn(with_password(user, PASSWORD))).await;
        assert_eq!(peer.next().await, Frame::Answer(Answer::Done));
        peers.push((is_ann, peer));
    }
    // All are there before any asks.
    let mut receiving = JoinSet::new();
    for (is_ann, peer) in peers {
        receiving.spawn(async move { (is_ann, received(peer, Duration::from_secs(4)).await) });
    }
    let (mut ann, mut bob) = (0, 0);
    while let Some(ended) = receiving.join_next().await {
        let (is_ann, bytes) = ended.unwrap();
        *(if is_ann { &mut ann } else { &mut bob }) += bytes;
    }
    // They began a moment apart.
    assert!(ann * 10 >= bob * 7 && bob * 10 >= ann * 7, "{ann} to {bob}");
    server.shutdown.cut();
    server.ended().await;
}

#[tokio::test]
async fn a_source_is_capped_over_all_protocols_together() {
    let people = People::new();
    let server = capped(&people, Caps { each: Some(RATE), ..Caps::default() });
    let time = Duration::from_secs(3);
    let mut classic = server.connect().await;
    let peer = Peer::greet(&server).await;
    let classic = async {
        classic.write_all(&request("file")).await.unwrap();
        let (mut buffer, mut bytes) = (vec![0; MIB], 0);
        let _ = timeout(time, async {
            while let Ok(length @ 1..) = classic.read(&mut buffer).await {
                bytes += length as u64;
            }
        })
        .await;
        bytes
    };
    let native = received(peer, time);
    let (classic, native) = tokio::join!(classic, native);
    let told = format!("{classic} and {native} in {time:?}");
    assert!(classic + native <= 3 * RATE + RATE / 2, "{told}");
    assert!(classic > 0 && native > 0, "{told}");
    server.shutdown.cut();
    server.ended().await;
}

#[tokio::test]
async fn small_files_of_several_shares_count_each_for_its_own() {
    let access = People::new().access(vec![allow("/", &["anonymous"], &[Action::Read])]);
    let server = TestServer::start_with(|config| {
        config.access = access;
        // Slow enough that what is charged to the wrong one is never sent.
        config.caps = Caps { per_share: HashMap::from([(b"slow".to_vec(), 1)]), ..Caps::default() };
    });
    server.write("one/small", "x");
    server.write("two/large", vec![7; 512 << 10]);
    let share = |called: &str, path: &str| Share { name: name(called), path: server.path(path) };
    let served = Served::Shares(vec![share("slow", "one"), share("quick", "two")]);
    server.handle.replace_shares(&served, Links::Refuse).unwrap();
    let mut peer = Peer::greet(&server).await;
    let files = vec![name("slow/small"), name("quick/large"), name("quick/large")];
    peer.ask(&Request::FetchTree(FetchTree {
        folder: None,
        files: files.into_iter().collect(),
        content: Content::Bytes,
    }))
    .await;
    let mut contents = Vec::new();
    loop {
        match peer.next().await {
            Frame::Content(bytes) => contents.push(bytes),
            Frame::Answer(Answer::Done) => break,
            Frame::Answer(_) => {}
        }
    }
    assert_eq!(contents, [1, 512 << 10, 512 << 10]);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn a_low_rate_is_slow_and_not_silent() {
    let access = People::new().access(vec![allow("/", &["anonymous"], &[Action::Read])]);
    let server = TestServer::start_with(|config| {
        config.access = access;
        config.caps = Caps { total: Some(20_000), ..Caps::default() };
        config.deadlines.heartbeat = Duration::from_millis(20);
    });
    server.write("file", vec![7; MIB]);
    let mut peer = Peer::greet(&server).await;
    let info = peer.stat("file").await;
    peer.ask(&fetch("file", &info, 0, 1)).await;
    let (mut contents, mut beats) = (0, 0);
    while contents < 3 || beats == 0 {
        match peer.next().await {
            Frame::Content(_) => contents += 1,
            Frame::Answer(Answer::Heartbeat) => beats += 1,
            other @ Frame::Answer(_) => panic!("{other:?}"),
        }
    }
    server.shutdown.cut();
    server.ended().await;
}
