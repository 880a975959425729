//! What monitoring gets to see.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tokio::task::spawn_blocking;
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Gate, Plan};
use towline_testkit::deadline::poll;
use towline_testkit::process::{ServerProcess, Signal};

use super::support::{CONFIGURATION, Office};
use crate::support::{finish, run};

/// A server that tells how it is, and where; `keys` go before the rest of its configuration.
pub(super) fn watched(office: &Office, keys: &str) -> (ServerProcess, SocketAddr) {
    office.configure(&format!("{keys}metrics = \"0\"\n{CONFIGURATION}"));
    let server = office.serve();
    let line = server.wait_line("metrics at http://");
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.split('/').next().unwrap().parse().unwrap();
    (server, address)
}

/// The status line and the rest of an answer to one request.
pub(super) fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (status, rest) = answer.split_once("\r\n").unwrap();
    (status.to_owned(), rest.to_owned())
}

/// The value of a metric with all these labels.
pub(super) fn value(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    metrics.lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_scrape_tells_what_was_asked_for_and_names_nobody_and_no_file() {
    let office = Office::new();
    let (server, address) = watched(&office, "");
    let token = office.new_token(&[]);
    server.wait_line("the credentials were read again");
    assert_eq!(
        run(office.get(&server, "lab/results", &[]).env("TOWLINE_TOKEN", &token)).code,
        Some(0)
    );
    assert_eq!(run(&mut office.get(&server, "lab/results", &["-f"])).code, Some(4));
    let fetched =
        [r#"face="native""#, r#"encrypted="true""#, r#"operation="fetch""#, r#"outcome="done""#];
    // Two connections, each of which is counted when it gets round to it.
    let metrics = poll("both requests", || {
        let (status, metrics) = ask(address, "GET /metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        let has = |labels: &[&str]| value(&metrics, "towline_requests_total", labels).is_some();
        (has(&[r#"outcome="denied""#]) && has(&fetched)).then_some(metrics)
    });
    assert_eq!(value(&metrics, "towline_requests_total", &fetched), Some(1.0), "{metrics}");
    assert_eq!(value(&metrics, "towline_sent_bytes_total", &[]), Some(300_000.0));
    let logins = [r#"by="token""#, r#"outcome="let-in""#];
    assert!(value(&metrics, "towline_logins_total", &logins).unwrap() >= 1.0);
    assert!(value(&metrics, "towline_handshakes_total", &[]).unwrap() >= 2.0);
    let seconds = "towline_request_duration_seconds_count";
    assert_eq!(value(&metrics, seconds, &[r#"operation="fetch""#]), Some(1.0));
    let hashed = [r#"kind="piece""#, r#"source="computed""#];
    assert_eq!(value(&metrics, "towline_hashes_total", &hashed), Some(1.0));
    for limit in ["hashing", "walks", "standing-walks", "small-files"] {
        let limit = format!("limit=\"{limit}\"");
        assert!(value(&metrics, "towline_limits_hit_total", &[&limit]).is_some(), "{metrics}");
    }
    assert!(metrics.contains("application/openmetrics-text"), "{metrics}");
    assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");
    for secret in ["ann", "results", "127.0.0.1", &token] {
        assert!(!metrics.contains(secret), "{secret}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_is_alive_and_not_ready() {
    let office = Office::new();
    // More than all buffers on the way hold.
    office.serve_file("open/leaflet", 64 << 20);
    let (mut server, address) = watched(&office, "");
    assert_eq!(ask(address, "GET /readyz").0, "HTTP/1.1 200 OK");
    // The transfer stands still until the draining server was asked.
    let gate = Gate::new();
    let shut = gate.clone();
    let proxy = ChaosProxy::start(server.addr(), move |_| {
        Plan::clean().with(Direction::ToClient, 1 << 20, FaultKind::Hold(shut.clone()))
    })
    .await;
    let mut slow = office.client("open/leaflet", proxy.addr());
    let slow = slow.args(["--timeout", "600"]).spawn().unwrap();
    let transfers = || value(&ask(address, "GET /metrics").1, "towline_transfers_open", &[]);
    poll("a transfer", || transfers().filter(|open| *open >= 1.0));
    server.signal(Signal::TERM);
    server.wait_line("shutting down");
    assert_eq!(ask(address, "GET /readyz").0, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(ask(address, "GET /healthz").0, "HTTP/1.1 200 OK");
    gate.open();
    let ran = spawn_blocking(|| finish(slow)).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn nothing_but_three_paths_is_told_and_nothing_can_be_done() {
    let office = Office::new();
    let (_server, address) = watched(&office, "");
    for (request, status) in [
        ("GET /", "404"),
        ("GET /open/leaflet", "404"),
        ("GET /metrics/../open/leaflet", "404"),
        ("POST /metrics", "405"),
        ("DELETE /healthz", "405"),
        ("HEAD /healthz", "200"),
        ("nonsense", "400"),
    ] {
        let (told, _) = ask(address, request);
        assert!(told.contains(status), "{request}: {told}");
    }
    let mut stream = TcpStream::connect(address).unwrap();
    // More than the head of a request may have.
    let _ = stream.write_all(format!("GET /{}", "a".repeat(100_000)).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(ask(address, "GET /healthz").0, "HTTP/1.1 200 OK");
}
