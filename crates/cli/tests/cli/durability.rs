//! What success means for the disk, seen from the system calls that were made.

use std::process::{Command, Stdio};

use crate::support::{Site, begun_call, needs, run};

/// The syncs and renames of a client that fetches `a/b/file` into folders that are all new.
fn publishing_calls(flags: &[&str]) -> Option<Vec<String>> {
    if !needs("strace") {
        return None;
    }
    let site = Site::new();
    site.serve_file("a/b/file", 1_000);
    let server = site.server();
    let port = server.addr().port().to_string();
    let client = site.towline(["client", "a/b/file", "127.0.0.1", &port]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-y", "-o", "trace", "-e", "trace=fsync,fdatasync,sync,syncfs,renameat"]);
    traced.arg(client.get_program()).args(client.get_args()).args(flags).current_dir(site.root());
    assert_eq!(run(traced.stdout(Stdio::null()).stderr(Stdio::null())).code, Some(0));
    let root = site.root().canonicalize().unwrap();
    let trace = std::fs::read_to_string(site.path("trace")).unwrap();
    // `PID fsync(7</root/client_downloads/a>) = 0` becomes `fsync client_downloads/a`.
    let calls = trace.lines().filter_map(begun_call).map(|(name, operand)| {
        let path = operand.split(['<', '>']).nth(1).unwrap();
        let path = path.strip_prefix(root.to_str().unwrap()).unwrap();
        format!("{name} {}", path.trim_start_matches('/'))
    });
    Some(calls.collect())
}

#[test]
fn success_means_that_data_name_and_folder_were_synced() {
    let Some(calls) = publishing_calls(&[]) else {
        return;
    };
    assert_eq!(
        calls,
        [
            "fsync client_downloads/a/b/.file.towline-part",
            "renameat client_downloads/a/b",
            "fsync client_downloads/a/b",
            "fsync client_downloads/a",
            "fsync client_downloads",
            "fsync ",
        ]
    );
}

#[test]
fn no_sync_leaves_the_disk_to_the_system() {
    let Some(calls) = publishing_calls(&["--no-sync"]) else {
        return;
    };
    assert_eq!(calls, ["renameat client_downloads/a/b"]);
}
