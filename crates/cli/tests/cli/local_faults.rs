//! What goes wrong on this machine: disks, limits, folders, closed streams.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use towline_testkit::process::ServerProcess;

use crate::support::{Site, finish, needs, needs_root, run};

/// Runs `script` with the client's command line as its arguments.
fn through_shell(site: &Site, script: &str, client: &Command) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(client.get_program()).args(client.get_args());
    command.current_dir(site.root()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_a_death() {
    let site = Site::new();
    site.serve_file("big", 4 << 20);
    let server = site.server();
    let client = site.client("big", server.addr());
    let ran = run(&mut through_shell(&site, "ulimit -f 1024; exec \"$@\"", &client));
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.stderr.contains("big"), "{ran:?}");
    assert!(site.fetched_names().is_empty());
}

#[test]
fn a_full_disk_is_told_before_the_transfer_and_the_old_file_stays() {
    if !needs_root() || !needs("unshare") {
        return;
    }
    let site = Site::new();
    site.serve_file("big", 4 << 20);
    std::fs::create_dir(site.path("client_downloads")).unwrap();
    let server = site.server();
    let client = site.client("big", server.addr());
    let script = "mount -t tmpfs -o size=1m none client_downloads \
                  && echo old > client_downloads/big \
                  && { \"$@\"; code=$?; ls -A client_downloads; cat client_downloads/big; exit $code; }";
    let mut shell = Command::new("unshare");
    let inner = through_shell(&site, script, &client);
    shell.arg("-m").arg(inner.get_program()).args(inner.get_args()).current_dir(site.root());
    let ran = run(shell.stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.stderr.contains("needs 4194304 bytes"), "{ran:?}");
    assert_eq!(ran.stdout, "big\nold\n");
}

#[test]
fn a_target_in_use_by_another_transfer_exits_9() {
    let site = Site::new();
    site.serve_file("file", 10);
    let server = site.server();
    std::fs::create_dir(site.path("client_downloads")).unwrap();
    let part = std::fs::File::create(site.path("client_downloads/.file.towline-part")).unwrap();
    part.lock().unwrap();
    let ran = run(&mut site.client("file", server.addr()));
    assert_eq!(ran.code, Some(9), "{ran:?}");
    drop(part);
    assert_eq!(run(&mut site.client("file", server.addr())).code, Some(0));
}

#[test]
fn a_folder_in_the_targets_place_exits_8() {
    let site = Site::new();
    site.serve_file("file", 10);
    let server = site.server();
    std::fs::create_dir_all(site.path("client_downloads/file")).unwrap();
    let ran = run(&mut site.client("file", server.addr()));
    assert_eq!(ran.code, Some(8), "{ran:?}");
}

#[test]
fn a_download_folder_that_cannot_be_made_exits_7() {
    let site = Site::new();
    site.serve_file("file", 10);
    let server = site.server();
    std::fs::write(site.path("client_downloads"), "a file is in the way").unwrap();
    let ran = run(&mut site.client("file", server.addr()));
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.stderr.contains("client_downloads"), "{ran:?}");
}

#[test]
fn a_log_folder_that_cannot_be_written_does_not_stop_the_server() {
    let site = Site::new();
    site.serve_file("file", 10);
    std::fs::write(site.path("in_the_way"), "").unwrap();
    let mut command =
        site.towline(["server", "0", "--bind", "127.0.0.1", "--log-dir", "in_the_way"]);
    let server = ServerProcess::start(&mut command);
    server.wait_line("going on without a log");
    assert_eq!(run(&mut site.client("file", server.addr())).code, Some(0));
}

#[test]
fn a_state_folder_that_cannot_be_written_does_not_stop_the_server() {
    let site = Site::new();
    site.serve_file("file", 2 << 20);
    std::fs::write(site.path("in_the_way"), "").unwrap();
    let mut command =
        site.towline(["server", "0", "--bind", "127.0.0.1", "--state-dir", "in_the_way"]);
    let server = ServerProcess::start(&mut command);
    server.wait_line("serving without remembered hashes");
    assert_eq!(run(&mut site.client("file", server.addr())).code, Some(0));
}

#[test]
fn a_closed_output_does_not_stop_a_transfer() {
    let site = Site::new();
    site.serve_file("file", 1 << 20);
    let server = site.server();
    for script in ["exec \"$@\" >&- 2>&-", "exec \"$@\" --json >/dev/full", "\"$@\" --json | true"]
    {
        let client = site.client("file", server.addr());
        run(&mut through_shell(&site, script, &client));
        site.assert_fetched("file");
        std::fs::remove_file(site.path("client_downloads/file")).unwrap();
    }
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_stop_the_server() {
    // Each is told on two lines or more: together more than a pipe holds.
    const REQUESTS: usize = 1_000;
    let site = Site::new();
    site.serve_file("file", 1 << 20);
    let mut server = site.towline(["server", "0", "--bind", "127.0.0.1"]).spawn().unwrap();
    let mut said = BufReader::new(server.stderr.take().unwrap()).lines();
    let listening = said.find_map(|line| {
        line.unwrap().split_once("listening on ").map(|(_, address)| address.parse().unwrap())
    });
    let address = listening.unwrap();
    for _ in 0..REQUESTS {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"\0\0\0\x02..").unwrap();
        let mut reply = Vec::new();
        peer.read_to_end(&mut reply).unwrap();
        assert!(reply.starts_with(b"ERROR"), "{reply:?}");
    }
    assert_eq!(run(&mut site.client("file", address)).code, Some(0));
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
    drop(said);
}

#[test]
fn a_folder_that_does_not_exist_cannot_be_served() {
    let site = Site::new();
    let ran = finish(site.towline(["serve", "nowhere"]).spawn().unwrap());
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("nowhere"), "{ran:?}");
}
