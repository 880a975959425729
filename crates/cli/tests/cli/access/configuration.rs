//! `towline config`, and a server that starts from a file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use towline_proto::escape::EscapedPath;

use super::support::{CONFIGURATION, Office};
use crate::support::{Site, run};

fn checked(office: &Office, args: &[&str]) -> (Option<i32>, String) {
    let fixed = ["config", "check", "-c", "towline.toml"];
    let ran = run(&mut office.towline(fixed.into_iter().chain(args.iter().copied())));
    (ran.code, ran.stderr + &ran.stdout)
}

#[test]
fn a_good_configuration_is_told_and_a_bad_one_with_its_line_and_column() {
    let office = Office::new();
    let (code, said) = checked(&office, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is good: 2 served, 1 users, 2 rules"), "{said}");
    for (text, expected) in [
        ("listen = [1]", "line 1, column 11"),
        ("speed = 3", "unknown field `speed`"),
        ("[[rule]]\npath = \"/a\"\nwho = [\"ann\"]\nallow = [\"read\"]", "line 3"),
        ("[[share]]\nname = \"a/b\"\npath = \".\"", "cannot be a share's name"),
        ("[[share]]\nname = \"a\"\npath = \"nowhere\"", "nowhere"),
        (
            "[tls]\ncert = \"c.pem\"\n[[share]]\nname = \"a\"\npath = \"server_files\"",
            "both, or neither",
        ),
    ] {
        office.configure(text);
        let (code, said) = checked(&office, &[]);
        assert_eq!(code, Some(1), "{text}: {said}");
        assert!(said.contains(expected) && said.contains("towline"), "{text}: {said}");
    }
}

#[test]
fn people_whom_rules_name_and_who_are_nobody_are_told() {
    let office = Office::new();
    office.configure(&CONFIGURATION.replace("user:ann", "group:labb"));
    let (code, said) = checked(&office, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("group:labb"), "{said}");
}

#[test]
fn a_rule_about_a_share_that_is_none_is_told_and_a_certificate_of_two_users_is_refused() {
    let office = Office::new();
    office.configure(&CONFIGURATION.replace("path = \"/lab\"", "path = \"/lbb/**\""));
    let (code, said) = checked(&office, &[]);
    assert!(code == Some(0) && said.contains("/lbb/**: no share has that name"), "{said}");
    let users = "[[user]]\nname = \"bob\"\ncertificates = [\"x\"]\n\n[[user]]\nname = \"ann\"\ncertificates = [\"x\"]\n";
    office.configure(&CONFIGURATION.replace("[[user]]\nname = \"ann\"\n", users));
    let (code, said) = checked(&office, &[]);
    assert!(code == Some(1) && said.contains("two users have the certificate \"x\""), "{said}");
}

#[test]
fn a_denial_about_a_share_that_is_none_is_refused() {
    let office = Office::new();
    let denial = "[[rule]]\npath = \"/lbb/private\"\nwho = [\"anonymous\"]\ndeny = [\"read\"]\n";
    office.configure(&format!("{CONFIGURATION}{denial}"));
    let expected = "a rule denies something at /lbb/private, and no share has that name";
    let (code, said) = checked(&office, &[]);
    assert!(code == Some(1) && said.contains(expected), "{said}");
    let ran = run(&mut office.towline(["serve", "-c", "towline.toml"]));
    assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{ran:?}");
}

#[test]
fn what_is_the_servers_own_is_not_served() {
    let office = Office::new();
    std::fs::create_dir_all(office.path("state")).unwrap();
    std::os::unix::fs::symlink(office.root(), office.path("way")).unwrap();
    for folder in [".", "state", "way"] {
        let ran = run(&mut office.towline(["serve", folder, "-p0", "-b127.0.0.1"]));
        assert_eq!(ran.code, Some(1), "{folder}: {ran:?}");
        assert!(ran.stderr.contains("is the server's own"), "{folder}: {ran:?}");
    }
    let logs = "[log]\naccess = \"server_files/open/access.log\"\n";
    office.configure(&format!("{CONFIGURATION}{logs}"));
    let (code, said) = checked(&office, &[]);
    assert!(code == Some(1) && said.contains("access.log is the server's own"), "{said}");
    office.configure(&CONFIGURATION.replace("server_files/open", "."));
    let (code, said) = checked(&office, &["--state-dir", "/nonexistent/state"]);
    assert!(code == Some(1) && said.contains("towline.toml is the server's own"), "{said}");
}

#[test]
fn what_a_server_keeps_and_logs_is_not_everybodys() {
    let office = Office::new();
    office.new_token(&[]);
    office.configure(&format!("log_dir = \"logs\"\n{CONFIGURATION}"));
    let server = office.serve();
    assert_eq!(run(&mut office.get(&server, "open/leaflet", &[])).code, Some(0));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let state = office.path("state/server");
    assert_eq!(mode(&state), 0o700);
    for entry in state.read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", EscapedPath(&path));
    }
    for entry in office.path("logs").read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o007, 0, "{}", EscapedPath(&path));
    }
}

#[test]
fn flags_go_over_variables_and_those_over_the_file() {
    let office = Office::new();
    let text = format!("grace = \"1m\"\nbuffer_size = \"64K\"\n{CONFIGURATION}");
    office.configure(&text);
    let mut show = office.towline(["config", "show", "-c", "towline.toml", "--grace", "3s"]);
    show.env("TOWLINE_GRACE", "2s").env("TOWLINE_MAX_CONNECTIONS", "7");
    let ran = run(&mut show);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for line in ["grace = \"3s\"", "buffer_size = \"65536\"", "connections = 7", "name = \"lab\""] {
        assert!(ran.stdout.lines().any(|shown| shown == line), "{line}: {}", ran.stdout);
    }
}

#[test]
fn what_is_shown_is_a_configuration_again() {
    let office = Office::new();
    let shown = run(&mut office.towline(["config", "show", "-c", "towline.toml"])).stdout;
    std::fs::write(office.path("again.toml"), &shown).unwrap();
    assert_eq!(run(&mut office.towline(["config", "show", "-c", "again.toml"])).stdout, shown);
    let example = run(&mut office.towline(["config", "example"])).stdout;
    std::fs::write(office.path("example.toml"), &example).unwrap();
    let check = ["config", "check", "server_files", "-c", "example.toml"];
    let ran = run(&mut office.towline(check));
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_server_without_anything_to_serve_says_so() {
    let site = Site::new();
    let ran = run(&mut site.towline(["serve"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("name a folder"), "{ran:?}");
    let office = Office::new();
    let ran = run(&mut office.towline(["serve", ".", "-c", "towline.toml"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("leave one out"), "{ran:?}");
}

#[test]
fn shares_are_served_under_their_names() {
    let office = Office::new();
    let server = office.serve();
    let ran = run(&mut office.get(&server, "open/leaflet", &[]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let fetched = std::fs::read(office.path("got/leaflet")).unwrap();
    assert!(fetched == std::fs::read(office.path("server_files/open/leaflet")).unwrap());
    let ran = run(&mut office.get(&server, "leaflet", &[]));
    // Rules say nothing of it: whether it is there is not told.
    assert_eq!(ran.code, Some(4), "{ran:?}");
}
