//! `towline server` and `towline client` behave as the classic system's document says.

use std::process::Stdio;

use towline_testkit::process::Signal;

use crate::support::{Site, finish, is_full, run, wait_log};

const MIB: u64 = 1 << 20;

#[test]
fn the_server_makes_its_folders_and_serves_files_that_appear_later() {
    let site = Site::new();
    std::fs::remove_dir(site.path("server_files")).unwrap();
    let server = site.server();
    site.serve_file("test.txt", 14);
    let ran = run(&mut site.client("test.txt", server.addr()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    site.assert_fetched("test.txt");
    assert!(site.path("logs").is_dir());
}

#[test]
fn the_default_port_is_9999_and_the_default_host_is_localhost() {
    let help = run(&mut Site::new().towline(["client", "--help"])).stdout;
    assert!(help.contains("[default: localhost]") && help.contains("[default: 9999]"), "{help}");
    let help = run(&mut Site::new().towline(["server", "--help"])).stdout;
    assert!(help.contains("[default: 9999]"), "{help}");
}

#[test]
fn both_log_connections_every_tenth_of_the_way_and_the_checksum() {
    let site = Site::new();
    site.serve_file("big", 20 * MIB);
    let mut server = site.server();
    let ran = run(&mut site.client("big", server.addr()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    server.signal(Signal::TERM);
    server.wait();
    let md5 = run(&mut site.towline(["hash", "--json", "server_files/big"])).stdout;
    let md5 = md5.split("\"md5\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for (word, connected) in [("server", "connected"), ("client", "connected to")] {
        let log = site.log(word);
        for part in [connected, " 10 %", " 50 %", " 100 %", &format!("MD5 {md5}")] {
            assert!(log.contains(part), "{part:?} is not in the {word} log:\n{log}");
        }
    }
}

#[test]
fn several_clients_are_served_at_once() {
    let site = Site::new();
    let server = site.server();
    let names = ["file1.txt", "file2.txt", "file3.txt"];
    let clients = names.map(|name| {
        site.serve_file(name, 8 * MIB);
        site.client(name, server.addr()).spawn().unwrap()
    });
    for (client, name) in clients.into_iter().zip(names) {
        assert_eq!(finish(client).code, Some(0));
        site.assert_fetched(name);
    }
}

/// The largest is 1 GiB in the full checks.
#[test]
fn fifty_clients_at_once_on_mixed_sizes_are_all_verified() {
    let site = Site::new();
    let server = site.server();
    let largest = if is_full() { 1_024 * MIB } else { 64 * MIB };
    let sizes = (0..50).map(|client| match client {
        0 => largest,
        1..=4 => 16 * MIB + client,
        5..=9 => 0,
        _ => client * client * 997,
    });
    let clients: Vec<_> = sizes
        .enumerate()
        .map(|(client, size)| {
            let name = format!("{client}.bin");
            site.serve_file(&name, size);
            let mut command = site.client(&name, server.addr());
            (name, command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        })
        .collect();
    for (name, client) in clients {
        assert_eq!(finish(client).code, Some(0), "{name}");
        site.assert_fetched(&name);
    }
}

#[test]
fn a_client_started_before_its_server_waits_for_it() {
    let site = Site::new();
    site.serve_file("test.txt", 14);
    let address = site.reserve();
    let mut client = site.client("test.txt", address);
    let patient = ["--max-retries", "100000", "--max-backoff", "50ms"];
    let client = client.args(patient).spawn().unwrap();
    wait_log(&site, "client", "attempt 2 failed");
    let _server = site.server_at(address);
    let ran = finish(client);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    site.assert_fetched("test.txt");
}

#[test]
fn retries_that_are_used_up_exit_5_and_say_what_was_tried() {
    let site = Site::new();
    let address = site.reserve();
    let ran = run(site.client("test.txt", address).args(["--max-retries", "2"]));
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("tried 3 times"), "{ran:?}");
    assert!(ran.stderr.contains(&address.to_string()), "{ran:?}");
}

#[test]
fn an_answer_of_error_is_final_and_exits_3() {
    let site = Site::new();
    let server = site.server();
    let ran = run(&mut site.client("missing.txt", server.addr()));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("File not found: missing.txt"), "{ran:?}");
    assert!(!site.log("client").contains("attempt 2"), "an ERROR is not tried again");
    assert!(site.fetched_names().is_empty());
}

#[test]
fn wrong_arguments_exit_2() {
    let site = Site::new();
    let wrong = [
        &["client"][..],
        &["client", "../x"],
        &["client", "/etc/passwd"],
        &["client", "a", "bad host"],
        &["client", "a", "localhost", "0"],
        &["client", "a", "--timeout", "0"],
        &["server", "65536"],
        &["serve", ".", "--max-connections", "0"],
        &["serve"],
    ];
    for args in wrong {
        let ran = run(&mut site.towline(args.iter().copied()));
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
    }
}

#[test]
fn an_existing_download_is_replaced() {
    let site = Site::new();
    site.serve_file("file", 1_000);
    std::fs::create_dir(site.path("client_downloads")).unwrap();
    std::fs::write(site.path("client_downloads/file"), "an older one").unwrap();
    let server = site.server();
    assert_eq!(run(&mut site.client("file", server.addr())).code, Some(0));
    site.assert_fetched("file");
}

#[test]
fn a_symbolic_link_is_not_found_for_the_client_and_explained_in_the_servers_log() {
    let site = Site::new();
    site.serve_file("file", 10);
    std::os::unix::fs::symlink("file", site.path("server_files/link")).unwrap();
    let mut server = site.server();
    let ran = run(&mut site.client("link", server.addr()));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    server.signal(Signal::TERM);
    server.wait();
    assert!(site.log("server").contains("follow_symlinks"), "{}", site.log("server"));
}

#[test]
fn events_as_json_tell_a_transfer_from_beginning_to_end() {
    let site = Site::new();
    site.serve_file("file", 1_000);
    let server = site.server();
    let ran = run(site.client("file", server.addr()).arg("--json"));
    let mut events: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| line.strip_prefix("{\"event\":\"").unwrap().split('"').next().unwrap())
        .collect();
    // The content comes in as many reads as it pleases the network.
    events.dedup();
    assert_eq!(
        events,
        ["connecting", "connected", "started", "progress", "verified", "published", "done"]
    );
    let ran = run(site.client("missing", server.addr()).arg("--json"));
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.contains("\"event\":\"failed\"") && last.contains("\"exit\":3"), "{last}");
}

#[test]
fn state_is_kept_in_the_users_state_folder() {
    let site = Site::new();
    site.serve_file("big", 2 * MIB);
    let server = site.server();
    assert_eq!(run(&mut site.client("big", server.addr())).code, Some(0));
    assert!(site.path("state/towline/hashes.sqlite").is_file());
}
