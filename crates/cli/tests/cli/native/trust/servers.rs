//! Servers that do not encrypt, that do nothing else, and that change or lose their keys.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::task::spawn_blocking;
use towline_testkit::deadline::poll;
use towline_testkit::process::Signal;
use towline_testkit::script::{Script, ScriptServer};

use super::{Field, pin, word_after};
use crate::support::{finish, run};
use towline_testkit::authority::{Authority, Issued};

/// The kinds of TLS records before encryption (RFC 8446, section 5.1): changing ciphers, alerts, handshakes.
const HANDSHAKE_RECORDS: [u8; 3] = [20, 21, 22];

/// The kinds of the TLS records in `bytes`.
fn record_kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [kind, 3, _, high, low, rest @ ..] = bytes {
        kinds.push(*kind);
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        bytes = rest.get(length..).unwrap();
    }
    assert!(bytes.is_empty(), "no TLS records: {bytes:?}");
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_in_plain_text_gets_no_byte_but_of_the_handshake() {
    // Who says nothing may be busy, who says something else is something else.
    for (answer, code, advice) in [
        (&b"\xf7TOW\x01\0\0\0 and more"[..], 1, "the server does not encrypt; if the network"),
        (b"ERROR Bad request", 1, "of the classic protocol alone; `towline client"),
        (b"anything else", 1, "is this a towline server, and its port?"),
        (b"", 5, "is this a towline server? If it has no encryption"),
    ] {
        let field = Field::new();
        let script = Script::new().expect_any(200).send(answer).shutdown_write().read_to_end();
        let server = ScriptServer::start(vec![script]).await;
        let mut get = field.get(server.addr(), "got", &["--retries", "0"]);
        let ran = spawn_blocking(move || run(&mut get)).await.unwrap();
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(advice), "{ran:?}");
        assert!(!field.has_got("got"));
        assert_eq!(field.known(), "");
        let received = server.finish().await.unwrap();
        for kind in record_kinds(&received[0]) {
            assert!(HANDSHAKE_RECORDS.contains(&kind), "a record of kind {kind}");
        }
    }
}

#[test]
fn a_server_that_requires_encryption_turns_plain_clients_away_and_they_say_why() {
    let field = Field::new();
    let server = field.serve(&["--require-tls"]);
    let ran = run(&mut field.get(server.addr(), "got", &["--plain", "--retries", "0"]));
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("try without --plain"), "{ran:?}");
    let ran = run(field.client("file", server.addr()).args(["--max-retries", "0"]));
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("asks for encryption"), "{ran:?}");
    field.gets(server.addr(), "got", &[]);
}

#[test]
fn a_new_certificate_is_shown_after_sighup_while_a_transfer_goes_on() {
    let (field, authority) = (Field::new(), Authority::new());
    field.serve_file("file", 6 << 20);
    let Issued { certificate, key } = authority.issue("server", "127.0.0.1");
    let args = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut server = field.serve(&args);
    let (address, file, old) = (server.addr(), authority.file(), pin(&server));
    let ca = ["--ca", file.to_str().unwrap()];
    let mut slow = field.get(address, "slow", &ca);
    let slow = slow.args(["-j1", "--limit-rate", "2M", "--json"]).spawn().unwrap();
    poll("the transfer's first session", || (!field.known().is_empty()).then_some(()));

    authority.issue("server", "127.0.0.1");
    server.signal(Signal::HUP);
    let line = server.wait_line("clients know this server by its key ");
    let new = word_after(&line, "by its key ");
    assert_ne!(new, old);
    field.is_refused(address, &["--pin", &old]);
    field.gets(address, "quick", &["--pin", &new]);

    let ran = finish(slow);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let done: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(done["lost_connections"], 0, "{ran:?}");
    assert!(field.has_got("slow"));
}

#[test]
fn a_bad_certificate_at_sighup_leaves_the_old_one() {
    let (field, authority) = (Field::new(), Authority::new());
    let Issued { certificate, key } = authority.issue("server", "127.0.0.1");
    let args = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut server = field.serve(&args);
    let old = pin(&server);
    std::fs::write(&certificate, "no certificate").unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_line("the old configuration, certificate and rules stay");
    assert!(line.contains(certificate.to_str().unwrap()), "{line}");
    field.gets(server.addr(), "got", &["--pin", &old]);
}

#[test]
fn a_key_that_is_made_anew_is_told_with_how_to_go_on_with_another_one() {
    let field = Field::new();
    let made = |state_dir: &str| {
        let mut server = field.serve(&["--state-dir", state_dir]);
        pin(&server);
        let lines = server.lines();
        server.kill();
        lines.iter().any(|line| line.contains(&format!("made a new key in {state_dir}:")))
    };
    assert!(made("keys"));
    assert!(!made("keys"), "it is the one before");
    assert!(made("moved"), "clients of the one before are in for a surprise");
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_that_others_may_read_keeps_the_server_from_starting() {
    let (field, authority) = (Field::new(), Authority::new());
    field.serve(&["--state-dir", "keys"]).kill();
    let own = field.path("keys/identity.pem");
    let Issued { certificate, key } = authority.issue("server", "127.0.0.1");
    let (certificate, given) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let with_files = ["--tls-cert", certificate, "--tls-key", given];
    for (path, mode, args) in [
        (&own, 0o640, &["--state-dir", "keys"][..]),
        (&own, 0o604, &["--state-dir", "keys"]),
        (&key, 0o644, &with_files),
    ] {
        set_mode(path, mode);
        let fixed = ["serve", "server_files", "-b127.0.0.1", "-p0"];
        let ran = run(&mut field.towline(fixed.into_iter().chain(args.iter().copied())));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("chmod"), "{ran:?}");
        assert!(ran.stderr.contains(path.to_str().unwrap().rsplit('/').next().unwrap()), "{ran:?}");
    }
}
