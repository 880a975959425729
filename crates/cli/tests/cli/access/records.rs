//! What operators read afterwards: the access log and the audit record.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use towline_testkit::deadline::poll;
use towline_testkit::process::{ServerProcess, Signal};

use super::support::{CONFIGURATION, Office};
use crate::support::run;

/// The same, with both logs as JSON.
fn configuration() -> String {
    let logs = "[log]\naccess = \"access.log\"\naudit = \"audit.log\"\nformat = \"json\"\n";
    format!("{CONFIGURATION}{logs}")
}

/// The lines of a log, as soon as one of them is as wanted.
fn wait_for(path: &Path, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    wait_for_all(path, what, |lines| lines.iter().any(&is_wanted))
}

/// The lines of a log, as soon as they are as wanted.
fn wait_for_all(path: &Path, what: &str, are_wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    poll(what, || {
        let text = std::fs::read_to_string(path).ok()?;
        // The last one may be half written.
        let (whole, _) = text.rsplit_once('\n')?;
        let lines: Vec<Value> =
            whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        are_wanted(&lines).then_some(lines)
    })
}

#[test]
fn every_request_is_a_line_that_says_who_asked_for_what_and_what_came_of_it() {
    let office = Office::new();
    office.configure(&configuration());
    let server = office.serve();
    let token = office.new_token(&[]);
    server.wait_line("the credentials were read again");
    let fetched = run(office.get(&server, "lab/results", &[]).env("TOWLINE_TOKEN", &token));
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    assert_eq!(run(&mut office.get(&server, "lab/results", &["-f"])).code, Some(4));
    assert_eq!(run(&mut office.get(&server, "open/missing", &[])).code, Some(3));
    let (host, port) = (server.addr().ip().to_string(), server.addr().port().to_string());
    let classic = ["client", "open/leaflet", &host, &port, "--no-sync"];
    assert_eq!(run(&mut office.towline(classic)).code, Some(0));

    let folder = run(&mut office.get(&server, "open", &[]));
    assert_ne!(folder.code, Some(0), "{folder:?}");
    let mut peer = TcpStream::connect(server.addr()).unwrap();
    peer.write_all(b"\0\0\0\x02..").unwrap();
    peer.read_to_end(&mut Vec::new()).unwrap();

    // Each connection writes its lines when it gets round to it.
    let log = office.path("access.log");
    let expected = [
        ("fetch", Some("lab/results"), "done"),
        ("stat", Some("lab/results"), "denied"),
        ("stat", Some("open/missing"), "not-found"),
        ("stat", Some("open"), "other-kind"),
        ("fetch", Some("open/leaflet"), "done"),
    ];
    let is = |line: &Value, (event, name, outcome): (&str, Option<&str>, &str)| {
        line["event"] == event && line["name"] == json!(name) && line["outcome"] == outcome
    };
    let is_malformed = |line: &Value| line["outcome"] == "malformed";
    let lines = wait_for_all(&log, "a line for each request", |lines| {
        let is_there = |wanted| lines.iter().any(|line| is(line, wanted));
        expected.into_iter().all(is_there) && lines.iter().any(is_malformed)
    });
    let [fetch, denied, _, _, classic] =
        expected.map(|wanted| lines.iter().find(|line| is(line, wanted)).unwrap());
    assert_eq!((&fetch["who"], &fetch["encrypted"]), (&"ann".into(), &true.into()));
    assert_eq!(fetch["sent_bytes"], 300_000);
    assert_eq!(denied["who"], "anonymous");
    let malformed = lines.iter().find(|line| is_malformed(line)).unwrap();
    assert_eq!((&malformed["face"], &malformed["name"]), (&"classic".into(), &Value::Null));
    assert_eq!(classic["face"], "classic");
    assert_eq!((&classic["encrypted"], &classic["sent_bytes"]), (&false.into(), &1_000.into()));
    let text = std::fs::read_to_string(log).unwrap();
    assert!(!text.contains(&token), "a secret is in the log");
}

#[test]
fn logins_denials_changed_credentials_and_reloads_are_in_the_audit_record() {
    let office = Office::new();
    office.configure(&configuration());
    let mut server = office.serve();
    let token = office.new_token(&[]);
    server.wait_line("the credentials were read again");
    assert_eq!(
        run(office.get(&server, "lab/results", &[]).env("TOWLINE_TOKEN", &token)).code,
        Some(0)
    );
    assert_eq!(
        run(office.get(&server, "lab/results", &["-f"]).env("TOWLINE_TOKEN", "wrong")).code,
        Some(4)
    );
    assert_eq!(run(&mut office.get(&server, "lab/results", &["-f"])).code, Some(4));
    office.configure("no configuration");
    server.signal(Signal::HUP);
    server.wait_line("rules stay");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));

    let lines = wait_for(&office.path("audit.log"), "the end", |line| line["event"] == "end");
    let has = |fields: &[(&str, &str)]| {
        let is_it = |line: &Value| fields.iter().all(|(key, value)| line[*key] == *value);
        assert!(lines.iter().any(is_it), "{fields:?}: {lines:?}");
    };
    has(&[("event", "start")]);
    has(&[("event", "reload"), ("what", "credentials"), ("outcome", "done")]);
    has(&[("event", "log-in"), ("who", "ann"), ("by", "token"), ("outcome", "let-in")]);
    has(&[("event", "log-in"), ("by", "token"), ("outcome", "refused")]);
    let denial = [("event", "denial"), ("who", "anonymous"), ("action", "read")];
    has(&[&denial[..], &[("name", "lab/results")]].concat());
    has(&[("event", "reload"), ("what", "configuration"), ("outcome", "refused")]);
    let is_change = |line: &&Value| line["event"] == "credentials";
    let change = lines.iter().find(is_change).expect("the token is new");
    let change = change["change"].as_str().unwrap();
    assert!(change.contains("of ann is new"), "{change}");
}

#[test]
fn after_sighup_logs_go_on_in_new_files() {
    let office = Office::new();
    office.configure(&configuration());
    let mut server = office.serve();
    let fetch = |server: &ServerProcess| run(&mut office.get(server, "open/leaflet", &[])).code;
    assert_eq!(fetch(&server), Some(0));
    let (log, moved) = (office.path("access.log"), office.path("access.log.1"));
    let is_fetch = |line: &Value| line["event"] == "fetch";
    wait_for(&log, "a line", is_fetch);
    std::fs::rename(&log, &moved).unwrap();
    server.signal(Signal::HUP);
    server.wait_line("were read again");
    std::fs::remove_file(office.path("got/leaflet")).unwrap();
    assert_eq!(fetch(&server), Some(0));
    wait_for(&log, "a line in the new file", is_fetch);
    let before = std::fs::read_to_string(moved).unwrap();
    assert_eq!(before.lines().filter(|line| line.contains("\"fetch\"")).count(), 1);
}

#[test]
fn a_log_that_cannot_be_written_keeps_nobody_from_being_served() {
    let office = Office::new();
    office.configure(&configuration().replace("access.log", "towline.toml/access.log"));
    let server = office.serve();
    server.wait_line("cannot write the log");
    assert_eq!(run(&mut office.get(&server, "open/leaflet", &[])).code, Some(0));
}
