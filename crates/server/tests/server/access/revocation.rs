//! What was proved is worth what it is worth now, also in the middle of a session.

use towline_proto::native::message::tree::{Content, Depth, FetchTree, List};
use towline_proto::native::message::{Answer, ErrorCode, Request};
use towline_server::auth::password;
use towline_server::config::{Config, Faces};
use towline_server::policy::{Action, Effect};
use towline_testkit::deadline::poll;

use super::support::{PASSWORD, People, allow, rule, with_password};
use crate::native::support::{Frame, MIB, Peer, fetch, name, stat};
use crate::support::{TestServer, acceptor};

const READ: &[Action] = &[Action::Read];

/// A session of ann's on a server where she alone may read `file`, of 64 pieces.
async fn anns_session(people: &People, proof: &Request) -> (TestServer, Peer) {
    let access = people.access(vec![allow("/", &["user:ann"], READ)]);
    let server = TestServer::start_with(|config| config.access = access);
    server.write("file", vec![7; 64 * MIB]);
    let mut ann = Peer::greet_encrypted(&server).await;
    ann.ask(proof).await;
    assert_eq!(ann.next().await, Frame::Answer(Answer::Done));
    (server, ann)
}

/// Fails unless the next answer is that the login has ended, and the session with it.
async fn assert_ended(mut peer: Peer) {
    let refusal = peer.refusal().await;
    assert_eq!(refusal.code, ErrorCode::Denied);
    assert!(refusal.text.contains("has ended"), "{refusal:?}");
    assert_eq!(peer.ended().await, b"");
}

#[tokio::test]
async fn a_revoked_token_ends_open_sessions() {
    let mut people = People::new();
    let (server, mut ann) = anns_session(&people, &Request::LogIn(people.token())).await;
    ann.stat("file").await;
    people.credentials.token.clear();
    server.handle.replace_access(&people.access(vec![allow("/", &["user:ann"], READ)]));
    ann.ask(&stat("file")).await;
    assert_ended(ann).await;
    server.finish().await;
}

#[tokio::test]
async fn a_changed_password_ends_open_sessions() {
    let mut people = People::new();
    let login = Request::LogIn(with_password("ann", PASSWORD));
    let (server, mut ann) = anns_session(&people, &login).await;
    ann.stat("file").await;
    people.credentials.password[0].hash = password::hash("another").unwrap();
    server.handle.replace_access(&people.access(vec![allow("/", &["user:ann"], READ)]));
    ann.ask(&stat("file")).await;
    assert_ended(ann).await;
    server.finish().await;
}

#[tokio::test]
async fn a_token_whose_time_is_over_lets_nobody_in() {
    let mut people = People::new();
    people.credentials.token[0].expires = Some("2026-01-02T00:00:00Z".parse().unwrap());
    let access = people.access(vec![allow("/", &["user:ann"], READ)]);
    let server = TestServer::start_with(|config| config.access = access);
    let mut ann = Peer::greet_encrypted(&server).await;
    ann.ask(&Request::LogIn(people.token())).await;
    ann.assert_refused(ErrorCode::Denied).await;
    drop(ann);
    server.finish().await;
}

#[tokio::test]
async fn a_token_is_good_for_no_more_than_its_scope() {
    let mut people = People::new();
    people.credentials.token[0].paths = vec!["/lab/**".into()];
    people.credentials.token[0].allow = vec![Action::Read];
    let access = people.access(vec![allow("/", &["user:ann"], &Action::ALL)]);
    let server = TestServer::start_with(|config| config.access = access);
    server.write("lab/file", "x");
    server.write("other", "x");
    let mut ann = Peer::greet_encrypted(&server).await;
    ann.ask(&Request::LogIn(people.token())).await;
    assert_eq!(ann.next().await, Frame::Answer(Answer::Done));
    ann.stat("lab/file").await;
    ann.ask(&stat("other")).await;
    ann.assert_refused(ErrorCode::Denied).await;
    drop(ann);
    server.finish().await;
}

#[tokio::test]
async fn what_is_denied_from_now_on_is_not_sent_to_its_end() {
    let people = People::new();
    let (server, mut ann) = anns_session(&people, &Request::LogIn(people.token())).await;
    let info = ann.stat("file").await;
    ann.ask(&fetch("file", &info, 0, 64)).await;
    assert!(matches!(ann.next().await, Frame::Content(_)));
    let denial = rule("/file", &["anonymous"], Effect::Deny, READ);
    server.handle.replace_access(&people.access(vec![allow("/", &["user:ann"], READ), denial]));
    let mut pieces = 0;
    let refusal = loop {
        match ann.next().await {
            Frame::Answer(Answer::Piece { .. }) => pieces += 1,
            Frame::Answer(Answer::Error(refusal)) => break refusal,
            Frame::Answer(Answer::Done) => panic!("all of it was sent"),
            Frame::Content(_) | Frame::Answer(_) => {}
        }
    };
    assert_eq!(refusal.code, ErrorCode::Denied);
    assert!(pieces < 64, "{pieces} pieces were sent");
    drop(ann);
    server.finish().await;
}

#[tokio::test]
async fn what_is_denied_from_now_on_is_cut_off_over_the_classic_protocol_as_well() {
    let people = People::new();
    let access = people.access(vec![allow("/", &["anonymous"], READ)]);
    let server = TestServer::start_with(|config| config.access = access);
    server.write_big("file");
    let held = server.hold_back("file").await;
    server.handle.replace_access(&people.access(Vec::new()));
    assert!(held.release().await.is_cut());
    server.finish().await;
}

#[tokio::test]
async fn what_is_not_encrypted_ends_where_encryption_is_required_from_now_on() {
    let server = TestServer::start();
    server.write("small", "content");
    server.write_big("big");
    let (classic, mut plain) = (server.hold_back("big").await, Peer::greet(&server).await);
    let mut fetching = Peer::greet_with_small_buffer(&server).await;
    let mut encrypted = Peer::greet_encrypted(&server).await;
    plain.stat("small").await;
    let info = fetching.stat("big").await;
    fetching.ask(&fetch("big", &info, 0, info.geometry.count())).await;
    assert!(matches!(fetching.next().await, Frame::Content(_)));
    let mut config = Config::new(server.path(""), acceptor());
    config.faces = Faces::ENCRYPTED;
    server.handle.replace(&config).unwrap();
    assert!(classic.release().await.is_cut());
    plain.ask(&stat("small")).await;
    let refusal = plain.refusal().await;
    assert_eq!(refusal.code, ErrorCode::Denied);
    assert!(refusal.text.contains("without encryption"), "{refusal:?}");
    assert_eq!(plain.ended().await, b"");
    assert!((fetching.ended().await.len() as u64) < info.geometry.file_bytes());
    encrypted.stat("small").await;
    drop(encrypted);
    server.finish().await;
}

/// Asks for the next entry of the whole tree, after the one that was told last.
fn next_entry(after: Option<&str>) -> Request {
    Request::List(List {
        folder: None,
        after: after.map(name),
        depth: Depth::Tree,
        rules: Vec::new(),
        entries_max: 1,
    })
}

impl Peer {
    /// The paths that a `List` is answered with.
    async fn entries(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        loop {
            match self.next().await {
                Frame::Answer(Answer::Entries(entries)) => {
                    paths.extend(entries.entries.iter().map(|entry| entry.path.to_string()));
                }
                Frame::Answer(Answer::Done) => return paths,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_revoked_token_lists_no_further_page() {
    let mut people = People::new();
    let rules = || vec![allow("/", &["user:ann"], &[Action::Read, Action::List])];
    let (server, mut ann) = anns_session(&people, &Request::LogIn(people.token())).await;
    server.write("other", "");
    server.handle.replace_access(&people.access(rules()));
    ann.ask(&next_entry(None)).await;
    assert_eq!(ann.entries().await, ["file"]);
    people.credentials.token.clear();
    server.handle.replace_access(&people.access(rules()));
    ann.ask(&next_entry(Some("file"))).await;
    assert_ended(ann).await;
    server.finish().await;
}

#[tokio::test]
async fn a_rule_that_denies_from_now_on_hides_the_rest_of_a_listing() {
    let people = People::new();
    let everything = || allow("/", &["anonymous"], &[Action::Read, Action::List]);
    let access = people.access(vec![everything()]);
    let server = TestServer::start_with(|config| config.access = access);
    for file in ["a", "b", "c"] {
        server.write(file, "");
    }
    let mut peer = Peer::greet(&server).await;
    peer.ask(&next_entry(None)).await;
    assert_eq!(peer.entries().await, ["a"]);
    let hidden = rule("/b", &["anonymous"], Effect::Deny, &[Action::List]);
    server.handle.replace_access(&people.access(vec![everything(), hidden]));
    peer.ask(&next_entry(Some("a"))).await;
    assert_eq!(peer.entries().await, ["c"]);
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn many_files_denied_in_one_request_are_one_line_of_the_audit_record() {
    let people = People::new();
    let rules =
        vec![allow("/", &["anonymous"], READ), rule("/secret", &["anonymous"], Effect::Deny, READ)];
    let access = people.access(rules);
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.log");
    let server = TestServer::start_with(|config| {
        config.access = access;
        config.records.audit = Some(audit.clone());
    });
    server.write("open", "");
    let files = ["open", "secret/a", "secret/b", "secret/c"].map(name).to_vec();
    let mut peer = Peer::greet(&server).await;
    peer.ask(&Request::FetchTree(FetchTree {
        folder: None,
        files: files.into_iter().collect(),
        content: Content::Bytes,
    }))
    .await;
    while peer.next().await != Frame::Answer(Answer::Done) {}
    drop(peer);
    server.finish().await;
    let text = poll("the end of the record", || {
        std::fs::read_to_string(&audit).ok().filter(|text| text.contains(" end"))
    });
    let denials: Vec<_> = text.lines().filter(|line| line.contains(" denial ")).collect();
    assert_eq!(denials.len(), 1, "{text}");
    assert!(denials[0].contains("name=secret/a others=2"), "{text}");
}

#[tokio::test]
async fn who_may_read_nothing_below_a_folder_does_not_learn_whether_it_is_there() {
    let people = People::new();
    let rules = vec![
        allow("/", &["anonymous"], READ),
        rule("/secret", &["anonymous"], Effect::Deny, READ),
        rule("/missing", &["anonymous"], Effect::Deny, READ),
    ];
    let access = people.access(rules);
    let server = TestServer::start_with(|config| config.access = access);
    server.write("secret/file", "");
    let mut peer = Peer::greet(&server).await;
    let mut answers = Vec::new();
    for folder in ["secret", "missing"] {
        let (folder, files) = (Some(name(folder)), vec![name("file")]);
        peer.ask(&Request::FetchTree(FetchTree {
            folder,
            files: files.into_iter().collect(),
            content: Content::Bytes,
        }))
        .await;
        let Frame::Answer(Answer::File(Err(refusal))) = peer.next().await else { panic!() };
        answers.push((refusal.code, refusal.retry));
        assert_eq!(peer.next().await, Frame::Answer(Answer::Done));
    }
    assert_eq!(answers, [(ErrorCode::Denied, false); 2]);
    drop(peer);
    server.finish().await;
}
