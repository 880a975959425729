//! What is likely mistaken on a command line, or about what answers: each says how it should be written.

use tokio::task::spawn_blocking;
use towline_testkit::script::{Script, ScriptServer};

use super::support::Ground;
use crate::support::{Site, run};

/// Fails unless the command ends with that code and says that.
fn told(site: &Site, args: &[&str], code: i32, what: &str) {
    let ran = run(&mut site.towline(args.iter().copied()));
    assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    assert!(ran.stderr.contains(what), "{args:?}: {ran:?}");
}

#[test]
fn a_server_of_the_classic_client_is_told_apart_from_its_port_and_from_a_url() {
    let site = Site::new();
    told(&site, &["client", "a", "files.example:80"], 2, "stand apart: files.example 80");
    told(&site, &["client", "towline://files.example/a"], 2, "FILENAME HOST PORT");
}

#[test]
fn a_path_on_this_machine_is_not_waited_for_on_a_server() {
    let site = Site::new();
    site.serve_file("file", 1);
    // No server can have that name (RFC 6761, section 6.4).
    std::fs::rename(site.path("server_files"), site.path("here.invalid")).unwrap();
    let what = "here.invalid/file is on this machine, and no server is called here.invalid";
    told(&site, &["get", "here.invalid/file", "-d", "got"], 2, what);
}

#[test]
fn a_server_that_refuses_is_told_with_what_to_look_at_also_to_the_classic_client() {
    let mut ground = Ground::with_file(1);
    let port = ground.server.addr().port().to_string();
    ground.server.kill();
    let url = format!("127.0.0.1:{port}/file");
    let what = "is a server running there, and on that port?";
    told(&ground, &["get", "--retries", "0", "-d", "got", &url], 5, what);
    let classic = ["client", "file", "127.0.0.1", &port, "--max-retries", "0"];
    told(&ground, &classic, 5, what);
}

#[test]
fn what_can_be_looked_at_is_told_before_the_first_wait_and_once() {
    let site = Site::new();
    let url = format!("{}/file", site.reserve());
    // The log has its own line of how it ends.
    for (details, lines) in [(None, 2), (Some("-v"), 3)] {
        let args = ["get", "--plain", "--retries", "1", "-d", "got", &url];
        let ran = run(&mut site.towline(args.into_iter().chain(details)));
        assert_eq!(ran.code, Some(5), "{ran:?}");
        let about = ran.stderr.lines().filter(|line| line.contains("Connection refused"));
        let about: Vec<_> = about.collect();
        assert_eq!(about.len(), lines, "{ran:?}");
        assert!(about[0].contains("trying again in 1 s; is a server running there"), "{ran:?}");
        assert!(about[lines - 1].starts_with("towline: file was not fetched"), "{ran:?}");
    }
}

#[test]
fn a_password_in_a_url_is_not_shown_again() {
    let site = Site::new();
    for args in [&["get", "ann:secret@files.example/a"][..], &["login", "ann:secret@files.example"]]
    {
        let ran = run(&mut site.towline(args.iter().copied()));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("ann:…@files.example"), "{ran:?}");
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
}

#[test]
fn a_hash_that_is_none_is_told_the_way_it_should_be_written() {
    let site = Site::new();
    let hash = "0f".repeat(32);
    for (text, advice) in [
        ("blake3:0f0f", "a BLAKE3 has 64 hexadecimal digits (0-9, a-f), and `0f0f` has 4"),
        (&hash, &format!("say which hash it is: blake3:{hash}")),
        ("md5:0f", "write it as blake3:HEX"),
    ] {
        told(&site, &["get", "files.example/a", "--hash", text], 2, advice);
    }
    let pin = ["get", "files.example/a", "--pin", "0f0f"];
    told(&site, &pin, 2, "`sha256:` and 64 hexadecimal digits");
}

#[test]
fn a_symbolic_link_that_is_asked_for_is_told_how_it_can_be_had() {
    let ground = Ground::with_file(1);
    std::os::unix::fs::symlink("file", ground.path("server_files/link")).unwrap();
    for name in ["link", "missing"] {
        let url = format!("{}/{name}", ground.server.addr());
        let args = ["get", "--plain", "-d", "got", &url];
        told(&ground, &args, 3, &format!("no such file: {name}; "));
        // The same for either: the server does not tell which it is.
        told(&ground, &args, 3, "A symbolic link is not followed: get what it leads to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_another_kind_is_told_after_two_attempts_and_not_waited_for() {
    for (greeting, plain, what) in [
        (&b"SSH-2.0-OpenSSH_10.0\r\n"[..], false, ["is an SSH server", "is the port right?"]),
        (b"SSH-2.0-OpenSSH_10.0\r\n", true, ["is an SSH server", "is the port right?"]),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false, ["is a web server", "is the port right?"]),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", true, ["is a web server", "is the port right?"]),
        (
            b"\x15\x03\x01\x00\x02\x02\x0a",
            true,
            ["wants to be asked encrypted", "leave --plain out"],
        ),
        (
            b"ERROR Bad request",
            true,
            ["of the classic protocol", "`towline client FILENAME HOST PORT`"],
        ),
    ] {
        let site = Site::new();
        let script = || Script::new().expect_any(20).send(greeting).shutdown_write().read_to_end();
        let server = ScriptServer::start(vec![script(), script()]).await;
        let url = format!("{}/file", server.addr());
        let wire: &[&str] = if plain { &["--plain"] } else { &[] };
        let mut get = site.towline([&["get", "-d", "got", &url], wire].concat());
        let ran = spawn_blocking(move || run(&mut get)).await.unwrap();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("tried 2 times"), "{ran:?}");
        assert!(what.iter().all(|part| ran.stderr.contains(part)), "{ran:?}");
        server.finish().await.unwrap();
    }
}
