//! Files that fail alone, and what fails as a whole.

use towline_testkit::process::ServerProcess;

use super::support::{Grove, failed, told, traced};
use crate::native::mounted::{Mounted, has_own_mounts};
use crate::native::support::{Growing, MIB, got};
use crate::support::needs;

#[tokio::test]
async fn a_folder_that_is_not_there_is_told_before_anything_is_made() {
    let grove = Grove::new();
    let url = format!("{}/nothing", grove.server.addr());
    let got = got(grove.towline(["get", "-r", "--plain", "--json", &url, "-d", "new"])).await;
    got.assert_failed(3);
    assert!(!grove.path("new").exists());
}

#[tokio::test]
async fn a_place_that_is_a_file_is_refused() {
    let grove = Grove::with_files(3, 10);
    std::fs::create_dir(grove.path("new")).unwrap();
    std::fs::write(grove.path("new/tree"), "mine").unwrap();
    let got = got(grove.get("new")).await;
    got.assert_failed(8);
    assert!(got.stderr.contains("new/tree is a file or a link"), "{}", got.stderr);
    assert_eq!(std::fs::read(grove.path("new/tree")).unwrap(), b"mine");
}

#[tokio::test]
async fn a_name_that_does_not_fit_fails_alone_and_the_rest_comes() {
    let grove = Grove::with_files(40, 1_000);
    let deep = vec!["d".repeat(200); 18].join("/");
    let mut here = grove.path("server_files/tree");
    // Deeper than a path may be long: made one folder at a time.
    for component in deep.split('/').take(3) {
        here.push(component);
    }
    std::fs::create_dir_all(&here).unwrap();
    std::fs::write(here.join("n".repeat(255)), "the longest name").unwrap();
    let got = got(grove.get("new")).await;
    assert_eq!((got.code, told(&got, "files")), (Some(0), 41), "{:?}", failed(&got));
    grove.assert_got("new");
}

#[tokio::test]
async fn a_full_disk_ends_it_with_what_came_kept_and_it_goes_on_when_there_is_room() {
    let test = "native::trees::failures::a_full_disk_ends_it_with_what_came_kept_and_it_goes_on_when_there_is_room";
    if !has_own_mounts(test) {
        return;
    }
    let grove = Grove::with_files(400, 20_000);
    let Some(_mounted) = Mounted::in_memory(&grove.path("small"), 8 * MIB) else { return };
    let ballast = grove.path("small/ballast");
    std::fs::write(&ballast, vec![0; usize::try_from(5 * MIB).unwrap()]).unwrap();
    let full = got(grove.get_with("small", &[])).await;
    full.assert_failed(7);
    assert!(full.stderr.contains("No space left"), "{}", full.stderr);
    assert!(!grove.path("small/tree").exists());
    std::fs::remove_file(ballast).unwrap();
    let rest = got(grove.get_with("small", &[])).await;
    assert_eq!(rest.code, Some(0), "{rest:?}");
    assert!(told(&rest, "kept_files") > 50, "{rest:?}");
    grove.assert_got("small");
}

/// Everybody may list all, and read all but what is secret.
const WITH_SECRETS: &str = r#"
listen = ["127.0.0.1:0"]
state_dir = "state/server"

[[share]]
name = "files"
path = "server_files"

[[rule]]
path = "/files"
who = ["anonymous"]
allow = ["read", "list"]

[[rule]]
path = "/files/tree/folder 001/secret*"
who = ["anonymous"]
deny = ["read"]
"#;

#[tokio::test]
async fn whatever_fails_is_listed_at_the_end_and_all_the_rest_comes() {
    let grove = Grove::with_files(40, 1_000);
    grove.serve("folder 001/secret", b"may not be read");
    grove.serve_file("tree/folder 001/secret and large", 3 * MIB);
    grove.serve_file("tree/large", 3 * MIB);
    grove.serve("in the way/below", b"x");
    std::fs::write(grove.path("towline.toml"), WITH_SECRETS).unwrap();
    let server = ServerProcess::start(&mut grove.towline(["serve", "-c", "towline.toml"]));
    let url = format!("{}/files/tree", server.addr());
    let get =
        |folder| grove.towline(["get", "-r", "--plain", "--json", "--no-sync", &url, "-d", folder]);

    let new = got(get("new")).await;
    new.assert_failed(23);
    assert_eq!((told(&new, "files"), told(&new, "failed_files")), (42, 2), "{new:?}");

    std::fs::create_dir_all(grove.path("there/tree/folder 002")).unwrap();
    std::fs::write(grove.path("there/tree/in the way"), "mine").unwrap();
    std::fs::write(grove.path("there/tree/folder 002/file 00020"), "mine, and another").unwrap();
    let there = got(get("there")).await;
    there.assert_failed(23);
    assert_eq!((told(&there, "files"), told(&there, "failed_files")), (40, 4), "{there:?}");
    let mut failures = failed(&there);
    failures.sort_unstable();
    let expected = [
        ("folder 001/secret", "may not"),
        ("folder 001/secret and large", "may not"),
        ("folder 002/file 00020", "differs in size or time; -f replaces it"),
        ("in the way", "no folder is here"),
    ];
    for ((path, why), (expected_path, expected_why)) in failures.iter().zip(expected) {
        assert_eq!(*path, expected_path);
        assert!(why.contains(expected_why), "{path}: {why}");
        // For people they are listed too, behind all else.
        assert!(there.stderr.contains(&format!("  {path}: ")), "{}", there.stderr);
    }
    assert_eq!(failures.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_keeps_growing_fails_alone_and_the_rest_comes() {
    let grove = Grove::with_files(40, 1_000);
    grove.serve_file("tree/log", 6 * MIB);
    let growing = Growing::start(grove.path("server_files/tree/log"));
    let got = got(grove.get_with("new", &["--no-sync", "--limit-rate", "4M"])).await;
    drop(growing);
    got.assert_failed(23);
    let [("log", why)] = failed(&got)[..] else { panic!("{got:?}") };
    assert!(why.contains("it keeps changing on the server"), "{why}");
    assert_eq!(told(&got, "files"), 40, "{got:?}");
}

#[tokio::test]
async fn an_error_of_the_disk_ends_it_whether_a_small_file_or_a_large_one_meets_it() {
    if !needs("strace") {
        return;
    }
    let small = Grove::with_files(20, 100);
    let large = Grove::new();
    large.serve_file("tree/large", 3 * MIB);
    // Into a tree that is there, each file gets its name by itself.
    for (grove, call) in
        [(&small, "utimensat"), (&small, "renameat2"), (&large, "pwrite64"), (&large, "renameat2")]
    {
        for error in ["EIO", "EROFS", "ENOSPC"] {
            std::fs::create_dir_all(grove.path("there/tree")).unwrap();
            let inject = format!("inject={call}:error={error}");
            let args = ["-e", &format!("trace={call}"), "-e", &inject];
            let failed = got(traced(grove, &args, &grove.get("there"))).await;
            failed.assert_failed(7);
            let why = failed.events.last().unwrap()["error"].as_str().unwrap();
            assert!(why.contains("there/tree"), "{call}, {error}: {why}");
            let is_there = |path: &&String| {
                grove.path("there/tree").join(path).is_file() && !path.contains(".towline-part")
            };
            let leaves = grove.leaves("there/tree");
            assert_eq!(leaves.keys().find(is_there), None, "{call}, {error}");
        }
        let rest = got(grove.get("there")).await;
        assert_eq!(rest.code, Some(0), "{rest:?}");
        grove.assert_got("there");
        std::fs::remove_dir_all(grove.path("there")).unwrap();
    }
}

#[tokio::test]
async fn an_error_of_one_name_fails_that_file_alone_whether_it_is_small_or_large() {
    if !needs("strace") {
        return;
    }
    let grove = Grove::with_files(20, 100);
    grove.serve_file("tree/large", 3 * MIB);
    std::fs::create_dir_all(grove.path("there/tree")).unwrap();
    let args = ["-e", "trace=renameat2", "-e", "inject=renameat2:error=EACCES"];
    let all = got(traced(&grove, &args, &grove.get("there"))).await;
    all.assert_failed(23);
    assert_eq!(failed(&all).len(), 21, "{all:?}");
}
