//! Servers that answer patterns and rules with other names than match them.

use std::process::Command;

use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Depth, Entries, Entry, EntryKind, List, Rule, Verdict};
use towline_proto::native::message::{Answer, Request};
use towline_proto::native::preface::Preface;
use towline_testkit::script::{Script, ScriptServer};

use crate::native::support::got;
use crate::support::Site;

fn name(path: &str) -> RemoteName {
    RemoteName::parse(path.as_bytes()).unwrap()
}

fn rule(verdict: Verdict, pattern: &str) -> Rule {
    Rule { verdict, pattern: pattern.into() }
}

/// A server that lists `.bashrc` in its folder `logs` whatever it is asked for.
async fn listing_bashrc(rules: Vec<Rule>) -> ScriptServer {
    let (folder, depth) = (Some(name("logs")), Depth::Folder);
    let list = List { folder, after: None, depth, rules, entries_max: 16_384 };
    let greeting = [&Preface::OURS.encode()[..], &Request::List(list).encode()].concat();
    let kind = EntryKind::File { size: 1, sparse: false };
    let entry = Entry { path: name(".bashrc"), kind, modified_ns: 1, mode: 0o644, error: None };
    let answer = Answer::Entries(Entries { entries: vec![entry], ended: true }).encode();
    let script = Script::new().expect(greeting).send(Preface::OURS.encode()).send(answer).hold();
    ScriptServer::start(vec![script]).await
}

async fn assert_told_and_nothing_written(site: &Site, command: Command, server: ScriptServer) {
    let got = got(command).await;
    got.assert_failed(1);
    let told = "the server listed .bashrc, which was not asked for";
    assert!(got.stderr.contains(told), "{}", got.stderr);
    assert!(!site.path("new").exists());
    // It was asked for no more: there is one connection.
    server.finish().await.unwrap();
}

#[tokio::test]
async fn a_pattern_brings_no_name_that_does_not_match_it() {
    let site = Site::new();
    let rules = vec![rule(Verdict::Exclude, "/*"), rule(Verdict::Include, "/*.gz")];
    let server = listing_bashrc(rules).await;
    let url = format!("{}/logs/*.gz", server.addr());
    let get = site.towline(["get", "--plain", "--json", &url, "-d", "new"]);
    assert_told_and_nothing_written(&site, get, server).await;
}

#[tokio::test]
async fn a_listing_shows_no_name_that_the_rules_leave_out() {
    let site = Site::new();
    let server = listing_bashrc(vec![rule(Verdict::Include, "*.gz")]).await;
    let url = format!("{}/logs", server.addr());
    let ls = site.towline(["ls", "--plain", "--json", &url, "--include", "*.gz"]);
    assert_told_and_nothing_written(&site, ls, server).await;
}
