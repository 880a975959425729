//! One table of rules and what follows from them, over every face: classic, native in the clear, native inside TLS.

use towline_proto::native::message::tree::{Content, Depth, FetchTree, List};
use towline_proto::native::message::{Answer, ErrorCode, Request};
use towline_server::policy::{Action, Effect, Rule};

use super::support::{People, allow, rule};
use crate::native::support::{Frame, Peer, name, stat};
use crate::support::{Reply, TestServer};

const READ: &[Action] = &[Action::Read];
const LIST: &[Action] = &[Action::List];
const BOTH: &[Action] = &[Action::Read, Action::List];

const ANYBODY: &[&str] = &["anonymous"];
const LAB: &[&str] = &["group:lab"];

/// Files that are there: `a/x`, `a/secret/y`, `ab/z`.
struct Row {
    rules: Vec<Rule>,
    /// What of them anybody may read, and what ann may.
    anybody_reads: &'static [&'static str],
    ann_reads: &'static [&'static str],
    /// Folders that anybody may list, and that ann may. The empty one is the top.
    anybody_lists: &'static [&'static str],
    ann_lists: &'static [&'static str],
}

const FILES: [&str; 3] = ["a/x", "a/secret/y", "ab/z"];
const FOLDERS: [&str; 4] = ["", "a", "a/secret", "ab"];

fn table() -> Vec<Row> {
    let secret = |who| rule("/a/secret", who, Effect::Deny, BOTH);
    vec![
        // No rule: no.
        Row {
            rules: vec![],
            anybody_reads: &[],
            ann_reads: &[],
            anybody_lists: &[],
            ann_lists: &[],
        },
        Row {
            rules: vec![allow("/", ANYBODY, BOTH)],
            anybody_reads: &FILES,
            ann_reads: &FILES,
            anybody_lists: &FOLDERS,
            ann_lists: &FOLDERS,
        },
        // A rule on /a says nothing of /ab.
        Row {
            rules: vec![allow("/a", ANYBODY, BOTH)],
            anybody_reads: &["a/x", "a/secret/y"],
            ann_reads: &["a/x", "a/secret/y"],
            anybody_lists: &["a", "a/secret"],
            ann_lists: &["a", "a/secret"],
        },
        // To read is not to list, and the reverse.
        Row {
            rules: vec![allow("/", ANYBODY, READ), allow("/ab", LAB, LIST)],
            anybody_reads: &FILES,
            ann_reads: &FILES,
            anybody_lists: &[],
            ann_lists: &["ab"],
        },
        Row {
            rules: vec![allow("/", ANYBODY, LIST), allow("/ab", &["user:ann"], READ)],
            anybody_reads: &[],
            ann_reads: &["ab/z"],
            anybody_lists: &FOLDERS,
            ann_lists: &FOLDERS,
        },
        // A denial wins, wherever it stands.
        Row {
            rules: vec![secret(ANYBODY), allow("/", ANYBODY, BOTH), allow("/a/secret", LAB, BOTH)],
            anybody_reads: &["a/x", "ab/z"],
            ann_reads: &["a/x", "ab/z"],
            anybody_lists: &["", "a", "ab"],
            ann_lists: &["", "a", "ab"],
        },
        Row {
            rules: vec![allow("/**", ANYBODY, BOTH), secret(LAB)],
            anybody_reads: &FILES,
            ann_reads: &["a/x", "ab/z"],
            anybody_lists: &FOLDERS,
            ann_lists: &["", "a", "ab"],
        },
        // Rules about others.
        Row {
            rules: vec![allow("/", &["user:bob", "group:other", "cert:x"], BOTH)],
            anybody_reads: &[],
            ann_reads: &[],
            anybody_lists: &[],
            ann_lists: &[],
        },
        // Patterns.
        Row {
            rules: vec![allow("/*/x", LAB, READ), allow("/**/y", ANYBODY, READ)],
            anybody_reads: &["a/secret/y"],
            ann_reads: &["a/x", "a/secret/y"],
            anybody_lists: &[],
            ann_lists: &[],
        },
    ]
}

#[tokio::test]
async fn the_same_rules_hold_over_every_face() {
    let people = People::new();
    let server = TestServer::start();
    for file in FILES {
        server.write(file, file);
    }
    for (number, row) in table().into_iter().enumerate() {
        server.handle.replace_access(&people.access(row.rules));
        let told = format!("row {number}");
        for file in FILES {
            let reply = server.ask(file).await;
            let is_read = matches!(reply, Reply::Whole { .. });
            assert_eq!(is_read, row.anybody_reads.contains(&file), "{told}: classic {file}");
        }
        let mut plain = Peer::greet(&server).await;
        plain.assert_may(&told, row.anybody_reads, row.anybody_lists).await;
        let mut encrypted = Peer::greet_encrypted(&server).await;
        encrypted.assert_may(&told, row.anybody_reads, row.anybody_lists).await;
        let mut ann = Peer::greet_encrypted(&server).await;
        ann.ask(&Request::LogIn(people.token())).await;
        assert_eq!(ann.next().await, Frame::Answer(Answer::Done));
        ann.assert_may(&format!("{told}, ann"), row.ann_reads, row.ann_lists).await;
    }
    server.finish().await;
}

impl Peer {
    /// Fails unless exactly these files can be read, by every way to read one, and exactly these folders listed.
    async fn assert_may(&mut self, told: &str, reads: &[&str], lists: &[&str]) {
        for file in FILES {
            self.ask(&stat(file)).await;
            let is_described = self.is_allowed(|answer| matches!(answer, Answer::Info(_))).await;
            assert_eq!(is_described, reads.contains(&file), "{told}: stat {file}");
            let is_read = self.reads_in_a_tree(file).await;
            assert_eq!(is_read, reads.contains(&file), "{told}: in a tree, {file}");
        }
        for folder in FOLDERS {
            let entries = self.lists(folder).await;
            assert_eq!(entries.is_some(), lists.contains(&folder), "{told}: list {folder:?}");
            // What may not be listed is not shown above either.
            let shown = entries.unwrap_or_default();
            let hidden = FOLDERS.iter().filter(|folder| !lists.contains(folder));
            for hidden in hidden.filter(|hidden| !hidden.is_empty()) {
                assert!(!shown.iter().any(|path| path == hidden), "{told}: {hidden} in {folder:?}");
            }
        }
    }

    /// Whether the next answer is as expected; otherwise it must be the refusal of what is not allowed.
    async fn is_allowed(&mut self, expected: impl Fn(&Answer) -> bool) -> bool {
        match self.next().await {
            Frame::Answer(Answer::Error(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::Denied, "{refusal:?}");
                false
            }
            Frame::Answer(answer) if expected(&answer) => true,
            other => panic!("{other:?}"),
        }
    }

    async fn reads_in_a_tree(&mut self, file: &str) -> bool {
        let files = vec![name(file)];
        let fetch =
            FetchTree { folder: None, files: files.into_iter().collect(), content: Content::Bytes };
        self.ask(&Request::FetchTree(fetch)).await;
        let is_read = match self.next().await {
            Frame::Answer(Answer::File(Ok(_))) => {
                assert_eq!(self.next().await, Frame::Content(file.len()));
                true
            }
            Frame::Answer(Answer::File(Err(refusal))) => {
                assert_eq!(refusal.code, ErrorCode::Denied, "{refusal:?}");
                false
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(self.next().await, Frame::Answer(Answer::Done));
        is_read
    }

    /// The paths of all that is listed in a folder and below, from the top; `None` where that is not allowed.
    async fn lists(&mut self, folder: &str) -> Option<Vec<String>> {
        let list = List {
            folder: (!folder.is_empty()).then(|| name(folder)),
            after: None,
            depth: Depth::Tree,
            rules: Vec::new(),
            entries_max: 100,
        };
        self.ask(&Request::List(list)).await;
        let entries = match self.next().await {
            Frame::Answer(Answer::Entries(entries)) => entries.entries,
            Frame::Answer(Answer::Error(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::Denied, "{refusal:?}");
                return None;
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(self.next().await, Frame::Answer(Answer::Done));
        let from_top = |path: &str| match folder {
            "" => path.to_owned(),
            folder => format!("{folder}/{path}"),
        };
        Some(entries.iter().map(|entry| from_top(&entry.path.to_string())).collect())
    }
}
