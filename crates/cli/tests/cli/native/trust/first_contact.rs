//! Meeting a server for the first time, meeting it again, and meeting another one in its place.

use std::os::unix::fs::PermissionsExt;

use tokio::task::spawn_blocking;
use towline_proto::escape::EscapedPath;
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Gate, Plan};
use towline_testkit::deadline::poll;

use super::{Field, connections, pin};
use crate::support::{finish, run};

#[test]
fn the_first_contact_prints_and_remembers_the_key_and_later_ones_are_silent() {
    for args in [&[][..], &["-q"], &["--json"]] {
        let field = Field::new();
        let server = field.serve(&[]);
        let (address, pin) = (server.addr(), pin(&server));
        let said = field.gets(address, "first", args);
        let news = format!(
            "{address} is new: from now on it must have the key {pin}; compare it with what the server printed\n"
        );
        assert!(said.contains(&news), "{said}");
        assert_eq!(field.known(), format!("{address} pin {pin}\n"));
        let mode = std::fs::metadata(field.known_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let said = field.gets(address, "second", args);
        assert!(!said.contains("sha256:"), "{said}");
        assert_eq!(field.known(), format!("{address} pin {pin}\n"));
    }
}

#[test]
fn another_key_is_refused_at_once_with_what_to_check_until_the_old_one_is_forgotten() {
    let field = Field::new();
    let server = field.serve(&[]);
    let (address, old) = (server.addr(), pin(&server));
    field.gets(address, "got", &[]);
    let server = field.serve_instead(server, &["--state-dir", "other"]);
    let new = pin(&server);
    let said = field.is_refused(address, &[]);
    let kept_in = EscapedPath(&field.known_path()).to_string();
    let command = format!("towline pins forget {address}");
    for part in [&old, &new, &kept_in, &command, "listening in", "set up anew", "--pin"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    server.wait_line(": connected");
    assert_eq!(connections(&server), 1, "it is not tried again");

    let forgotten = field.pins(&["forget", &address.to_string()]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    let said = field.gets(address, "got anew", &[]);
    assert!(said.contains("is new") && said.contains(&new), "{said}");
    assert_eq!(field.known(), format!("{address} pin {new}\n"));
}

#[test]
fn a_key_that_is_asked_for_is_the_only_one_and_replaces_what_was_known() {
    let field = Field::new();
    let server = field.serve(&[]);
    let (address, old) = (server.addr(), pin(&server));
    let wrong = format!("sha256:{}", "0f".repeat(32));
    let said = field.is_refused(address, &["--pin", &wrong]);
    assert!(said.contains(&wrong) && said.contains(&old), "{said}");
    assert!(said.contains("command line") && !said.contains("pins forget"), "{said}");
    assert_eq!(field.known(), "");

    let said = field.gets(address, "right", &["--pin", &old]);
    assert!(said.contains(&old) && !said.contains("compare"), "{said}");
    assert_eq!(field.known(), format!("{address} pin {old}\n"));
    field.gets(address, "known", &[]);

    let server = field.serve_instead(server, &["--state-dir", "other"]);
    let new = pin(&server);
    field.is_refused(address, &["--pin", &old]);
    let said = field.gets(address, "replaced", &["-q", "--pin", &new]);
    let news =
        format!("from now on {address} must have the key {new}, and not the key {old} as before\n");
    assert!(said.contains(&news), "{said}");
    assert_eq!(field.known(), format!("{address} pin {new}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_transfer_that_is_killed_in_the_middle_has_remembered_the_server() {
    let field = Field::new();
    let server = field.serve(&[]);
    let proxy = ChaosProxy::start(server.addr(), |_| {
        Plan::clean().with(Direction::ToClient, 50_000, FaultKind::Stall)
    })
    .await;
    let mut client = field.get(proxy.addr(), "got", &["--timeout", "600"]).spawn().unwrap();
    let line = format!("{} pin {}\n", proxy.addr(), pin(&server));
    poll("the server among the known ones", || (field.known() == line).then_some(()));
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(!field.has_got("got"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_another_key_gets_no_further_request() {
    let field = Field::new();
    field.serve_file("file", 8 << 20);
    let server = field.serve(&[]);
    let (gate, old) = (Gate::new(), pin(&server));
    // The transfer stands still until the other server is there.
    let shut = gate.clone();
    let proxy = ChaosProxy::start(server.addr(), move |_| {
        Plan::clean().with(Direction::ToClient, 1 << 20, FaultKind::Hold(shut.clone()))
    })
    .await;
    let address = proxy.addr();
    let client = field.get(address, "got", &["-j1", "--timeout", "600"]).spawn().unwrap();
    proxy.wait_forwarded(Direction::ToClient, 1 << 20).await;
    let server = field.serve_instead(server, &["--state-dir", "other"]);
    gate.open();
    let ran = spawn_blocking(|| finish(client)).await.unwrap();
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains(&old) && ran.stderr.contains(&pin(&server)), "{ran:?}");
    assert!(!field.has_got("got"));
    assert_eq!(field.known(), format!("{address} pin {old}\n"));
}

#[test]
fn a_server_that_lacks_the_file_is_remembered_all_the_same() {
    let field = Field::new();
    let server = field.serve(&[]);
    let url = format!("{}/missing", server.addr());
    let ran = run(&mut field.towline(["get", &url]));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("is new"), "{ran:?}");
    assert_eq!(field.known(), format!("{} pin {}\n", server.addr(), pin(&server)));
}

#[test]
fn a_run_that_fetches_much_from_a_server_meets_it_once() {
    let field = Field::new();
    field.serve_file("other", 10);
    let server = field.serve(&[]);
    let address = server.addr();
    // Where nothing can be remembered, whoever meets a server anew says so.
    std::fs::create_dir(field.known_path().with_extension("lock")).unwrap();
    let pattern = format!("{address}/*");
    let ran = run(&mut field.towline(["get", &pattern, &format!("{address}/file"), "-d", "got"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stderr.matches("cannot be remembered").count(), 1, "{ran:?}");
}

#[test]
fn two_first_transfers_at_once_are_both_remembered() {
    let field = Field::new();
    let servers = [field.serve(&["--state-dir", "one"]), field.serve(&["--state-dir", "two"])];
    let clients: Vec<_> = servers
        .iter()
        .map(|server| {
            let folder = server.addr().port().to_string();
            field.get(server.addr(), &folder, &[]).spawn().unwrap()
        })
        .collect();
    for client in clients {
        let ran = finish(client);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let known = field.known();
    for server in &servers {
        assert!(known.contains(&format!("{} pin {}\n", server.addr(), pin(server))), "{known}");
    }
    assert_eq!(known.lines().count(), 2);
}
