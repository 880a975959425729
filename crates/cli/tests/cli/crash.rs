//! `kill -9` of the client at any point: the final name holds the old content or the new one, never less.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};
use towline_testkit::random::Random;

use crate::support::{Site, is_full, needs, run};

const NAME: &str = "file.bin";
const SIZE: u64 = 3_000_000;
const OLD: &[u8] = b"what was there before";

fn site_with_an_older_file() -> Site {
    let site = Site::new();
    site.serve_file(NAME, SIZE);
    std::fs::create_dir(site.path("client_downloads")).unwrap();
    std::fs::write(site.path("client_downloads").join(NAME), OLD).unwrap();
    site
}

fn fetched(site: &Site) -> Vec<u8> {
    std::fs::read(site.path("client_downloads").join(NAME)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_fifty_points_leaves_no_bad_final_name() {
    let site = site_with_an_older_file();
    let server = site.server();
    let mut random = Random::from_seed(50);
    for point in 0..50 {
        // The bytes stop somewhere, so that the client is killed with exactly that much received.
        let place = random.below(SIZE + 60);
        let proxy = ChaosProxy::start(server.addr(), move |_| {
            Plan::clean().with(Direction::ToClient, place, FaultKind::Stall)
        })
        .await;
        let mut command = site.client(NAME, proxy.addr());
        let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        proxy.wait_forwarded(Direction::ToClient, place).await;
        client.kill().unwrap();
        let status = client.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "point {point}");
        assert!(fetched(&site) == OLD, "killed at byte {place}");
    }
    // What the dead left behind hinders nobody and does not stay.
    assert_eq!(run(&mut site.client(NAME, server.addr())).code, Some(0));
    site.assert_fetched(NAME);
    assert_eq!(site.fetched_names(), [NAME]);
}

/// Kills at the system calls that publish a file, where a network can stop nothing.
#[test]
fn kill_9_while_publishing_leaves_the_old_file_or_the_new_one() {
    if !needs("strace") {
        return;
    }
    let site = site_with_an_older_file();
    let server = site.server();
    let new = std::fs::read(site.path("server_files").join(NAME)).unwrap();
    for (calls, which) in [("fsync", 1), ("renameat,renameat2", 1), ("fsync", 2)] {
        std::fs::write(site.path("client_downloads").join(NAME), OLD).unwrap();
        let port = server.addr().port().to_string();
        let client = site.towline(["client", NAME, "127.0.0.1", &port]);
        let mut traced = Command::new("strace");
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:signal=KILL:when={which}");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
        traced.arg(client.get_program()).args(client.get_args()).current_dir(site.root());
        let ran = run(traced.stdout(Stdio::null()).stderr(Stdio::piped()));
        if ran.stderr.contains("ptrace") && !is_full() {
            return towline_testkit::skip("tracing is not permitted here");
        }
        assert_ne!(ran.code, Some(0), "{inject} did not strike: {ran:?}");
        let content = fetched(&site);
        assert!(content == OLD || content == new, "{inject} left {} bytes", content.len());
        assert_eq!(run(&mut site.client(NAME, server.addr())).code, Some(0), "{inject}");
        site.assert_fetched(NAME);
        assert_eq!(site.fetched_names(), [NAME]);
    }
}
