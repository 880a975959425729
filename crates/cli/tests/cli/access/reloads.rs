//! What a running server reads again, and what it keeps where that is wrong.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::Command;

use towline_testkit::deadline::poll;
use towline_testkit::process::{ServerProcess, Signal};

use super::support::{CONFIGURATION, Office};
use crate::support::{finish, run};
use towline_testkit::authority::{Authority, Issued};

#[test]
fn a_revoked_token_opens_nothing_more_on_a_server_that_runs() {
    let office = Office::new();
    let server = office.serve();
    let token = office.new_token(&[]);
    server.wait_line("the credentials were read again");
    let get = || run(office.get(&server, "lab/results", &["-f"]).env("TOWLINE_TOKEN", &token));
    assert_eq!(get().code, Some(0));
    let list = run(&mut office.towline(["token", "list", "-c", "towline.toml"])).stdout;
    let id = list.split_whitespace().next().unwrap();
    let revoke = ["token", "revoke", id, "-c", "towline.toml"];
    assert_eq!(run(&mut office.towline(revoke)).code, Some(0));
    let again = || {
        let lines = server.lines();
        lines.iter().filter(|line| line.contains("the credentials were read again")).count() == 2
    };
    poll("the credentials to be read", || again().then_some(()));
    assert_eq!(get().code, Some(4));
}

#[test]
fn a_bad_rule_certificate_or_user_file_at_a_reload_keeps_what_holds_during_a_transfer() {
    let office = Office::new();
    office.serve_file("lab/results", 6 << 20);
    let token = office.new_token(&[]);
    let mut server = office.serve();
    let mut slow = office.get(&server, "lab/results", &["--limit-rate", "2M", "-j1", "--json"]);
    let slow = slow.env("TOWLINE_TOKEN", &token).spawn().unwrap();
    server.wait_line("logged in as ann");

    let authority = Authority::new();
    let Issued { certificate, .. } = authority.issue("server", "127.0.0.1");
    std::fs::copy(certificate, office.path("certificate")).unwrap();
    let bad_tls = "[tls]\ncert = \"certificate\"\nkey = \"towline.toml\"\n";
    let bad_users = "[credentials]\nfile = \"towline.toml\"\n";
    let nobody = CONFIGURATION.replace("\"anonymous\"", "\"nobody\"");
    // None of the new rules may hold where something else is wrong.
    let closed = CONFIGURATION.replace("\"anonymous\"", "\"user:ann\"");
    let without_rules = CONFIGURATION.split("[[user]]").next().unwrap();
    let gone = closed.replace("server_files/lab", "server_files/closed");
    for (text, reason) in [
        (format!("{closed}{bad_tls}"), "mode 644"),
        (nobody, "nobody"),
        (format!("{closed}{bad_users}"), "can be read by others"),
        (gone, "closed"),
        ("no configuration".into(), "line 1"),
        (without_rules.into(), "everybody could read everything"),
    ] {
        office.configure(&text);
        let before = server.lines().len();
        server.signal(Signal::HUP);
        let kept = || {
            let lines = server.lines();
            let mut new = lines[before..].iter();
            new.find(|line| line.contains("the old configuration, certificate and rules stay"))
                .cloned()
        };
        let said = poll("the reload", kept);
        assert!(said.contains(reason), "{reason}: {said}");
        let ran = run(&mut office.get(&server, "open/leaflet", &["-f"]));
        assert_eq!(ran.code, Some(0), "{reason}: {ran:?}");
    }

    office.configure(&closed);
    server.signal(Signal::HUP);
    server.wait_line("the configuration, certificate and rules were read again");
    assert_eq!(run(&mut office.get(&server, "open/leaflet", &["-f"])).code, Some(4));
    let ran = finish(slow);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn faces_and_limits_are_others_after_sighup_and_what_takes_a_restart_is_told() {
    let office = Office::new();
    let mut server = office.serve();
    let (host, port) = (server.addr().ip().to_string(), server.addr().port().to_string());
    let classic = ["client", "open/leaflet", &host, &port, "--no-sync", "--max-retries", "0"];
    assert_eq!(run(&mut office.towline(classic)).code, Some(0));
    let keys = "require_tls = true\ngrace = \"7s\"\n";
    let limits = "[limits]\nrate_bytes_per_s_per_user = \"100M\"\n";
    office.configure(&format!("{keys}{CONFIGURATION}{limits}"));
    server.signal(Signal::HUP);
    server.wait_line("were read again");
    let lines = server.lines();
    assert!(lines.iter().any(|line| line.contains("`grace` is another one")), "{lines:?}");
    assert_eq!(run(&mut office.towline(classic)).code, Some(5));
    assert_eq!(run(&mut office.get(&server, "open/leaflet", &[])).code, Some(0));
}

#[test]
fn another_state_folder_holds_from_the_next_start_on_with_its_key_and_credentials() {
    let office = Office::new();
    let token = office.new_token(&[]);
    let mut server = office.serve();
    office.configure(&CONFIGURATION.replace("state/server", "state/other"));
    server.signal(Signal::HUP);
    server.wait_line("the configuration, certificate and rules were read again");
    server.wait_line("`state_dir` is another one");
    let get = run(office.get(&server, "lab/results", &[]).env("TOWLINE_TOKEN", &token));
    assert_eq!(get.code, Some(0), "{get:?}");
    assert!(!office.path("state/other").exists());
}

#[test]
fn credentials_on_a_disk_that_does_not_answer_hold_up_nothing_else() {
    let office = Office::new();
    office.configure(&format!("{CONFIGURATION}[limits]\nrate_bytes_per_s = \"100M\"\n"));
    office.new_token(&[]);
    let mut server = office.serve();
    let path = office.path("state/server/credentials.toml");
    std::fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(&path).status().unwrap();
    assert!(made.success());
    // Nobody writes to it, so that its reader waits for ever; it can be opened once there is one.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let _writer = poll("a reader of the credentials", || {
        OpenOptions::new().write(true).custom_flags(nonblocking).open(&path).ok()
    });
    assert_eq!(run(&mut office.get(&server, "open/leaflet", &[])).code, Some(0));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_configuration_that_is_gone_at_a_reload_leaves_its_rules() {
    let office = Office::new();
    let place = office.path("config/towline/towline.toml");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let rules = CONFIGURATION.split("[[user]]").nth(1).unwrap();
    let keys = "listen = [\"127.0.0.1:0\"]\n[[user]]";
    std::fs::write(&place, format!("{keys}{rules}")).unwrap();
    let mut server = ServerProcess::start(&mut office.towline(["serve", "server_files"]));
    assert_eq!(run(&mut office.get(&server, "lab/results", &[])).code, Some(4));
    std::fs::rename(&place, office.path("away")).unwrap();
    server.signal(Signal::HUP);
    server.wait_line("rules stay");
    assert_eq!(run(&mut office.get(&server, "lab/results", &[])).code, Some(4));
}

#[test]
fn credentials_that_could_not_be_read_once_are_read_when_they_can() {
    let office = Office::new();
    let token = office.new_token(&[]);
    let server = office.serve();
    let get = || run(office.get(&server, "lab/results", &["-f"]).env("TOWLINE_TOKEN", &token));
    assert_eq!(get().code, Some(0));
    let path = office.path("state/server/credentials.toml");
    let mode = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    // First that nobody may read it: otherwise it could be read in between.
    mode(0o644);
    std::fs::write(&path, "").unwrap();
    server.wait_line("the old credentials stay");
    mode(0o600);
    server.wait_line("the credentials were read again");
    assert_eq!(get().code, Some(4));
}
