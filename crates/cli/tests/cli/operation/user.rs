//! The user that a server becomes which root started.

use std::fs::{create_dir, metadata, read_dir, read_to_string, write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use towline_testkit::process::ServerProcess;

use super::support::{CONFIGURATION, Station, USER, set_mode, set_owner};
use crate::access::support::pin;
use crate::support::{needs_root, run};
use towline_testkit::authority::{Authority, Issued};

/// Another user than root and [`USER`].
const OTHER: u32 = 12_345;

/// What the kernel says of each thread.
fn statuses(server: &ServerProcess) -> Vec<String> {
    let tasks = read_dir(format!("/proc/{}/task", server.id())).unwrap();
    tasks.map(|task| read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
}

/// The words after `key` in one of them.
fn words<'a>(status: &'a str, key: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().collect()
}

fn id_of_user(flag: &str) -> String {
    let output = Command::new("id").args([flag, USER]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_server_that_is_to_be_somebody_is_nobody_else_in_any_thread() {
    if !needs_root() {
        return;
    }
    let station = Station::new();
    let server = station.serve(&["--user", USER, "--log-dir", "logs"]);
    station.assert_served(&server, "leaflet");
    let (uid, gid) = (id_of_user("-u"), id_of_user("-g"));
    let statuses = statuses(&server);
    assert!(statuses.len() > 1);
    for status in &statuses {
        // Real, effective, saved, and for files.
        assert_eq!(words(status, "Uid:"), [&*uid; 4]);
        assert_eq!(words(status, "Gid:"), [&*gid; 4]);
        assert_eq!(words(status, "Groups:"), id_of_user("-G").split(' ').collect::<Vec<_>>());
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(words(status, set), ["0000000000000000"], "{set}");
        }
        assert_eq!(words(status, "NoNewPrivs:"), ["1"]);
    }
    // What root made for it is its own.
    for path in ["kept", "kept/identity.pem", "kept/hashes.sqlite", "logs"] {
        assert_eq!(metadata(station.path(path)).unwrap().uid().to_string(), uid, "{path}");
    }
    assert!(!server.lines().iter().any(|line| line.contains("serving as root")));
}

#[test]
fn what_the_user_may_not_read_is_told_so_and_not_asked_for_again() {
    if !needs_root() {
        return;
    }
    let station = Station::new();
    let server = station.serve(&["--user", USER]);
    station.serve_file("closed", 10);
    set_mode(&station.path("server_files/closed"), 0o600);
    let (key, url) = (pin(&server), format!("{}/data/closed", server.addr()));
    let ran = run(&mut station.towline(["get", "--pin", &key, &url]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the server itself may not read data/closed"), "{ran:?}");
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_port_below_1024_is_bound_before_the_user_changes() {
    if !needs_root() {
        return;
    }
    let station = Station::new();
    // Another run of this test, beside this one, looks at others first.
    let (first, ports) = (std::process::id() % 124, 900..1_024);
    let free = ports.cycle().skip(first as usize).take(124).find(|port| is_free(*port));
    let port = free.unwrap().to_string();
    let server = station.serve(&["--user", USER, "--port", &port]);
    assert_eq!(server.addr().port().to_string(), port);
    station.assert_served(&server, "leaflet");
}

#[test]
fn nobody_becomes_a_user_that_is_not_there_and_only_root_becomes_another() {
    let station = Station::new();
    let is_root = rustix::process::geteuid().is_root();
    for (name, reason) in [("no such user", "there is no user"), ("root", "leave the user out")] {
        let said = station.refusal(&["--user", name]);
        let reason = if is_root { reason } else { "that takes root" };
        assert!(said.contains(reason) && said.contains(name), "{said}");
    }
    assert!(!station.path("kept").exists(), "nothing was made");
}

#[test]
fn a_user_without_root_is_an_error_before_anything_is_served() {
    if !needs_root() {
        return;
    }
    // As somebody else, who can run a copy of the program.
    let station = Station::new();
    let program = station.path("towline");
    // By another process: while this one has it open for writing, a child of another test's has, and it cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_towline")).arg(&program).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(program);
    command.args(["serve", "-c", "towline.toml", "--user", USER]).current_dir(station.root());
    command.uid(OTHER).gid(OTHER).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("that takes root"), "{ran:?}");
    assert!(!ran.stderr.contains("listening on"), "{ran:?}");
}

#[test]
fn what_the_user_may_not_use_is_named_with_what_to_do_before_anything_is_served() {
    if !needs_root() {
        return;
    }
    let station = Station::new();
    let refused = |path: &str, advice: &str, args: &[&str]| {
        let said = station.refusal(&[&["--user", USER], args].concat());
        assert!(said.contains(path) && said.contains(advice) && said.contains(USER), "{said}");
    };
    // A state folder of root's, as a first start without --user leaves it.
    create_dir(station.path("kept")).unwrap();
    refused("kept", "chown", &[]);
    let uid: u32 = id_of_user("-u").parse().unwrap();
    set_owner(&station.path("kept"), uid);
    // Its own key.
    write(station.path("kept/identity.pem"), "").unwrap();
    refused("kept/identity.pem", "chown", &[]);
    std::fs::remove_file(station.path("kept/identity.pem")).unwrap();
    // Logs.
    create_dir(station.path("logs")).unwrap();
    refused("logs", "chown", &["--log-dir", "logs"]);
    // Credentials elsewhere.
    write(station.path("credentials"), "").unwrap();
    set_mode(&station.path("credentials"), 0o600);
    station.configure(&format!("{CONFIGURATION}[credentials]\nfile = \"credentials\"\n"));
    refused("credentials", "let them", &[]);
    station.configure(CONFIGURATION);
    // A certificate's key.
    let authority = Authority::new();
    let Issued { certificate, key } = authority.issue("server", "127.0.0.1");
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    set_mode(std::path::Path::new(certificate).parent().unwrap(), 0o755);
    set_mode(std::path::Path::new(key), 0o600);
    refused(key, "let them", &["--tls-cert", certificate, "--tls-key", key]);
    // What is served.
    set_mode(&station.path("server_files"), 0o700);
    refused("server_files", "let them", &[]);
    set_mode(&station.path("server_files"), 0o755);
    // And the configuration itself.
    set_mode(&station.path("towline.toml"), 0o600);
    refused("towline.toml", "let them", &[]);
    set_mode(&station.path("towline.toml"), 0o644);
    station.assert_served(&station.serve(&["--user", USER]), "leaflet");
}

#[test]
fn a_token_that_root_makes_before_the_first_start_is_the_servers() {
    if !needs_root() {
        return;
    }
    let station = Station::new();
    let users = "[[user]]\nname = \"ann\"\n[[rule]]\npath = \"/data\"\nwho = [\"user:ann\"]\nallow = [\"read\"]\n";
    station.configure(&format!("run_as = {USER:?}\n{CONFIGURATION}{users}"));
    let token = run(&mut station.towline(["token", "new", "ann", "-c", "towline.toml"]));
    assert_eq!(token.code, Some(0), "{token:?}");
    let server = station.serve(&[]);
    let (pin, url) = (pin(&server), format!("{}/data/leaflet", server.addr()));
    let mut get = station.towline(["get", "--pin", &pin, "--no-sync", "-d", "got", &url]);
    let got = run(get.env("TOWLINE_TOKEN", token.stdout.trim()));
    assert_eq!(got.code, Some(0), "{got:?}");
}

#[test]
fn who_serves_as_root_is_warned() {
    if !needs_root() {
        return;
    }
    let station = Station::new();
    let server = station.serve(&[]);
    station.assert_served(&server, "leaflet");
    let warnings = server.lines().into_iter().filter(|line| line.contains("serving as root"));
    let warnings: Vec<_> = warnings.collect();
    assert!(warnings.len() == 1 && warnings[0].contains("--user"), "{warnings:?}");
}
