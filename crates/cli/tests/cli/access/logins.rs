//! Tokens and passwords, from the operator who makes them to the user who fetches with them.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use super::support::{CONFIGURATION, Office, pin};
use crate::support::{finish, run};
use towline_testkit::authority::{Authority, Issued};

#[test]
fn a_token_fetches_what_nobody_else_may_have() {
    let office = Office::new();
    let token = office.new_token(&[]);
    let server = office.serve();
    let ran = run(&mut office.get(&server, "lab/results", &[]));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("anonymous may not read lab/results"), "{ran:?}");
    assert!(ran.stderr.contains("towline login"), "{ran:?}");
    let ran = run(office.get(&server, "lab/results", &[]).env("TOWLINE_TOKEN", &token));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(office.get(&server, "lab/results", &[]).env("TOWLINE_TOKEN", "towline_wrong"));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("wrong user, password or token"), "{ran:?}");
}

#[test]
fn a_token_in_a_file_must_be_its_owners_alone() {
    let office = Office::new();
    std::fs::write(office.path("token"), office.new_token(&[])).unwrap();
    let server = office.serve();
    let get = || run(&mut office.get(&server, "lab/results", &["--token-file", "token"]));
    std::fs::set_permissions(office.path("token"), Permissions::from_mode(0o644)).unwrap();
    let ran = get();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("chmod 600"), "{ran:?}");
    std::fs::set_permissions(office.path("token"), Permissions::from_mode(0o600)).unwrap();
    let ran = get();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_token_is_told_to_one_server_alone() {
    let office = Office::new();
    let (token, one, other) = (office.new_token(&[]), office.serve(), office.serve());
    let urls = [one.addr(), other.addr()].map(|addr| format!("{addr}/lab/results"));
    let get = || office.towline(["get", "--no-sync", "-d", "got", &urls[0], &urls[1]]);
    let ran = run(get().env("TOWLINE_TOKEN", &token));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("the token of TOWLINE_TOKEN is for one server"), "{ran:?}");
    std::fs::write(office.path("token"), &token).unwrap();
    let ran = run(get().args(["--token-file", "token"]));
    assert!(ran.stderr.contains("the token of --token-file is for one server"), "{ran:?}");
    for server in [one, other] {
        assert!(!server.lines().iter().any(|line| line.contains("connected")));
    }
}

#[test]
fn a_server_that_is_new_is_told_before_anybody_types_a_secret() {
    let office = Office::new();
    let server = office.serve();
    let address = server.addr().to_string();
    let ran = office.tell(&["login", &address, "--user", "ann"], "");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("is new here"), "{ran:?}");
    assert!(!ran.stderr.contains("password of ann"), "{ran:?}");
}

#[test]
fn a_client_that_is_done_says_so() {
    let office = Office::new();
    let server = office.serve();
    assert_eq!(run(&mut office.get(&server, "open/leaflet", &[])).code, Some(0));
    server.wait_line(": left");
    assert!(!server.lines().iter().any(|line| line.contains("session ended")));
}

#[test]
fn who_has_logged_in_stays_so_until_they_log_out() {
    let office = Office::new();
    let ran = office.tell(&["passwd", "ann", "-c", "towline.toml"], "correct horse");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let server = office.serve();
    let (address, key) = (server.addr().to_string(), pin(&server));
    let login = ["login", &address, "--user", "ann", "--pin", &key];
    let ran = office.tell(&login, "wrong");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(!office.path("config/towline/logins.toml").exists());
    let ran = office.tell(&login, "correct horse");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let kept = std::fs::metadata(office.path("config/towline/logins.toml")).unwrap();
    assert_eq!(kept.mode() & 0o777, 0o600);
    // Neither the key nor who asks need be said again.
    let url = format!("{address}/lab/results");
    let get = || run(&mut office.towline(["get", "--no-sync", "-f", "-d", "got", &url]));
    assert_eq!(get().code, Some(0));
    let ls = run(&mut office.towline(["ls", &format!("{address}/lab")]));
    assert_eq!(ls.stdout, "results\n", "{ls:?}");
    let ran = run(&mut office.towline(["logout", &address]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    std::fs::remove_dir_all(office.path("got")).unwrap();
    assert_eq!(get().code, Some(4));
    assert_eq!(run(&mut office.towline(["logout", &address])).code, Some(3));
}

#[test]
fn several_who_log_in_at_once_are_all_kept() {
    let office = Office::new();
    let token = office.new_token(&[]);
    office.configure(&CONFIGURATION.replace("127.0.0.1:0", "0.0.0.0:0"));
    let server = office.serve();
    let key = pin(&server);
    std::fs::write(office.path("token"), token).unwrap();
    // All of these are one machine's.
    let addresses: Vec<_> =
        (1..=8).map(|last| format!("127.0.0.{last}:{}", server.addr().port())).collect();
    let log_in = |address: &String| {
        let input = std::fs::File::open(office.path("token")).unwrap();
        let mut login = office.towline(["login", address, "--pin", &key]);
        login.stdin(Stdio::from(input)).spawn().unwrap()
    };
    let logging_in: Vec<_> = addresses.iter().map(log_in).collect();
    for login in logging_in {
        let ran = finish(login);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let kept = std::fs::read_to_string(office.path("config/towline/logins.toml")).unwrap();
    for address in &addresses {
        assert!(kept.contains(address), "{address}: {kept}");
    }
}

#[test]
fn a_token_file_that_is_of_no_use_is_named_with_what_is_wrong() {
    let office = Office::new();
    let server = office.serve();
    std::fs::write(office.path("binary"), b"\xff\xfe").unwrap();
    std::fs::set_permissions(office.path("binary"), Permissions::from_mode(0o600)).unwrap();
    for (file, why) in [
        ("nowhere", "--token-file: cannot read nowhere: No such file"),
        ("server_files", "--token-file: server_files is a folder, and a file is needed"),
        ("binary", "--token-file: cannot read binary"),
    ] {
        let ran = run(&mut office.get(&server, "lab/results", &["--token-file", file]));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(why), "{ran:?}");
    }
}

#[test]
fn a_secret_is_not_told_to_a_server_that_is_new() {
    let office = Office::new();
    let token = office.new_token(&[]);
    let server = office.serve();
    let url = format!("{}/lab/results", server.addr());
    let mut get = office.towline(["get", "--retries", "0", "-d", "got", &url]);
    let ran = run(get.env("TOWLINE_TOKEN", &token));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("use --pin"), "{ran:?}");
    assert!(!server.lines().iter().any(|line| line.contains("logged in")));
    // Nor is its key taken for the right one from then on.
    let ran = run(office
        .towline(["get", "--retries", "0", "-d", "got", &url])
        .env("TOWLINE_TOKEN", &token));
    assert_eq!(ran.code, Some(4), "{ran:?}");
}

#[test]
fn a_secret_is_not_told_without_encryption() {
    let office = Office::new();
    let token = office.new_token(&[]);
    let server = office.serve();
    let url = format!("{}/lab/results", server.addr());
    let mut get = office.towline(["get", "--plain", "--retries", "0", "-d", "got", &url]);
    let ran = run(get.env("TOWLINE_TOKEN", &token));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("anonymous"), "{ran:?}");
    let both = ["get", "--plain", "--token-file", "token", &url];
    assert_eq!(run(&mut office.towline(both)).code, Some(2));
    let login = ["login", &server.addr().to_string(), "--plain"];
    assert_eq!(office.tell(&login, &token).code, Some(2));
}

#[test]
fn tokens_are_listed_without_what_they_are_and_revoked_by_their_id() {
    let office = Office::new();
    let token = office.new_token(&["--expires", "90days", "--path", "/lab", "--allow", "read"]);
    let list = |args: &[&str]| {
        let fixed = ["token", "list", "-c", "towline.toml"];
        run(&mut office.towline(fixed.into_iter().chain(args.iter().copied())))
    };
    let listed = list(&["--json"]).stdout;
    let entry: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&entry["user"], &entry["paths"][0]), (&"ann".into(), &"/lab".into()), "{listed}");
    assert!(!list(&[]).stdout.contains(&token["towline_".len()..]));
    let credentials =
        std::fs::read_to_string(office.path("state/server/credentials.toml")).unwrap();
    assert!(!credentials.contains(&token["towline_".len()..]));
    let id = entry["id"].as_str().unwrap();
    let revoke = ["token", "revoke", id, "-c", "towline.toml"];
    assert_eq!(run(&mut office.towline(revoke)).code, Some(0));
    assert_eq!(run(&mut office.towline(revoke)).code, Some(3));
    assert_eq!(list(&[]).stdout, "");
}

#[test]
fn tokens_and_passwords_are_for_users_that_there_are() {
    let office = Office::new();
    for args in [&["token", "new", "bob"][..], &["passwd", "bob"]] {
        let ran = office.tell(&[args, &["-c", "towline.toml"]].concat(), "secret");
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("bob"), "{ran:?}");
    }
    for wrong in [&["--path", "lab"][..], &["--allow", "run"], &["--expires", "soon"]] {
        let new = ["token", "new", "ann", "-c", "towline.toml"];
        let ran = run(&mut office.towline(new.iter().chain(wrong).copied()));
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}

#[test]
fn a_client_certificate_says_who_somebody_is() {
    let office = Office::new();
    let (clients, others) = (Authority::new(), Authority::new());
    let user = "name = \"ann\"\ncertificates = [\"ann.example\"]";
    let text = CONFIGURATION.replace("name = \"ann\"", user);
    let rule = "[[rule]]\npath = \"/lab\"\nwho = [\"cert:backup.example\"]\nallow = [\"read\"]\n";
    office.configure(&format!("{text}{rule}[tls]\nclient_ca = {:?}\n", clients.file()));
    let server = office.serve();
    let get = |issued: &Issued| {
        let (certificate, key) =
            (issued.certificate.to_str().unwrap(), issued.key.to_str().unwrap());
        let args = ["--client-cert", certificate, "--client-key", key, "-f"];
        run(&mut office.get(&server, "lab/results", &args))
    };
    // As the user that the configuration says, and by its own name.
    for name in ["ann.example", "backup.example"] {
        let ran = get(&clients.issue(name, name));
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
    }
    let ran = get(&clients.issue("bob", "bob.example"));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("cert:bob.example may not read"), "{ran:?}");
    // Whoever has none is nobody, and whoever has another authority's is not let in.
    assert_eq!(run(&mut office.get(&server, "open/leaflet", &[])).code, Some(0));
    let ran = get(&others.issue("forged", "ann.example"));
    assert_eq!(ran.code, Some(5), "{ran:?}");
}
