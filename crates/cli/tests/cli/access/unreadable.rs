//! A served file whose disk fails: who asks for it is told, and so is who looks after the server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use towline_testkit::deadline::poll;

use super::support::Office;
use super::watching::{ask, value, watched};
use crate::support::{needs, needs_root, run};

/// All ways to read a file, and the one by which pieces are hashed.
const READING: &str = "pread64,preadv,preadv2,sendfile";
const HASHING: &str = "pread64";

/// A server for which some system calls on one file fail, until this is dropped.
struct Failing {
    strace: Child,
    /// It ends where nobody takes what it says.
    _said: BufReader<ChildStderr>,
}

impl Failing {
    fn attach(server: u32, calls: &str, file: &Path) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-p", &server.to_string(), "-P"]).arg(file);
        strace.args(["-e", &format!("inject={calls}:error=EIO")]);
        let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        Self { strace, _said: said }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // The server goes on without it.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

#[test]
fn a_file_that_the_server_cannot_read_is_told_as_such_to_all_and_not_taken_for_a_lost_connection() {
    // To follow a process that is no child takes root on many systems.
    if !needs("strace") || !needs_root() {
        return;
    }
    let office = Office::new();
    office.serve_file("open/leaflet", 3 << 20);
    let log = "log.access = \"access.log\"\nlog.format = \"json\"\n";
    let (server, metrics) = watched(&office, log);
    let file = office.path("server_files/open/leaflet").canonicalize().unwrap();
    let failed = |is_encrypted: bool| {
        let encrypted = format!("encrypted=\"{is_encrypted}\"");
        let labels = [&encrypted, r#"operation="fetch""#, r#"outcome="failed""#];
        value(&ask(metrics, "GET /metrics").1, "towline_requests_total", &labels).unwrap_or(0.0)
    };
    for (calls, is_encrypted) in [(READING, true), (READING, false), (HASHING, false)] {
        let before = failed(is_encrypted);
        let failing = Failing::attach(server.id(), calls, &file);
        let url = format!("{}/open/leaflet", server.addr());
        let plain = ["get", "--plain", "--no-sync", "--retries", "0", "-d", "got", &url];
        let encrypted = office.get(&server, "open/leaflet", &[]);
        let ran = run(&mut if is_encrypted { encrypted } else { office.towline(plain) });
        drop(failing);
        assert_ne!(ran.code, Some(0), "{calls}: {ran:?}");
        let said = "the server cannot read open/leaflet: Input/output error";
        assert!(ran.stderr.contains(said), "{calls}: {ran:?}");
        poll("a count", || (failed(is_encrypted) > before).then_some(()));
    }
    poll("the access log", || {
        let lines = std::fs::read_to_string(office.path("access.log")).unwrap();
        let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["event"] == "fetch" && line["outcome"] == "failed")
    });
    // Who left first may have been cut off; not because of the file.
    let ended = |line: &&String| line.contains("session ended");
    let lines = server.lines();
    let mut ended = lines.iter().filter(ended);
    assert!(ended.all(|line| !line.contains("Input/output error")), "{lines:?}");

    assert_eq!(run(&mut office.get(&server, "open/leaflet", &[])).code, Some(0));
}
