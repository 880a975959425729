//! Trees that are there already, as a whole or in part.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::SystemTime;

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};

use super::support::{Grove, failed, told};
use crate::native::mounted::{Mounted, has_own_mounts};
use crate::native::support::{Got, MIB, ended_before, got};

#[tokio::test]
async fn a_rerun_moves_nothing_and_never_nests() {
    let grove = Grove::with_files(100, 5_000);
    grove.serve_file("tree/large", 3 * MIB);
    assert_eq!(got(grove.get("new")).await.code, Some(0));
    let again = got(grove.get("new")).await;
    assert_eq!((again.code, told(&again, "files"), told(&again, "same_files")), (Some(0), 0, 101));
    assert_eq!(told(&again, "received_bytes"), 0);
    grove.assert_got("new");
    assert_eq!(std::fs::read_dir(grove.path("new")).unwrap().count(), 1);
}

#[tokio::test]
async fn only_what_differs_moves_and_only_where_that_is_asked_for() {
    let grove = Grove::with_files(100, 5_000);
    assert_eq!(got(grove.get("new")).await.code, Some(0));
    let here = grove.path("new/tree");
    std::fs::remove_file(here.join("folder 003/file 00031")).unwrap();
    std::fs::write(here.join("folder 004/file 00044"), "another content").unwrap();
    std::fs::write(here.join("not on the server"), "mine").unwrap();
    grove.serve("added/file", b"added");

    let without = got(grove.get("new")).await;
    assert_eq!((without.code, told(&without, "files")), (Some(23), 2), "{without:?}");
    let [(path, reason)] = failed(&without)[..] else { panic!("{without:?}") };
    assert!(path.ends_with("file 00044") && reason.contains("-f replaces it"), "{reason}");
    let other = std::fs::read(here.join("folder 004/file 00044")).unwrap();
    assert_eq!(other, b"another content");

    let with = got(grove.get_with("new", &["-f"])).await;
    assert_eq!((with.code, told(&with, "files"), told(&with, "same_files")), (Some(0), 1, 100));
    assert_eq!(std::fs::read(here.join("not on the server")).unwrap(), b"mine");
    std::fs::remove_file(here.join("not on the server")).unwrap();
    grove.assert_got("new");
}

#[tokio::test]
async fn what_is_in_the_way_fails_alone_and_is_not_removed() {
    let grove = Grove::with_files(20, 100);
    grove.serve("folder/below", b"x");
    grove.serve("file", b"x");
    grove.serve("linked/below", b"x");
    let here = grove.path("new/tree");
    std::fs::create_dir_all(here.join("file")).unwrap();
    std::fs::write(here.join("folder"), "a file").unwrap();
    std::fs::create_dir(grove.path("elsewhere")).unwrap();
    symlink("../../elsewhere", here.join("linked")).unwrap();
    let got = got(grove.get_with("new", &["-f"])).await;
    assert_eq!((got.code, told(&got, "files"), told(&got, "failed_files")), (Some(23), 20, 3));
    let paths: Vec<_> = failed(&got).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["file", "folder", "linked"]);
    assert!(here.join("file").is_dir());
    assert_eq!(std::fs::read(here.join("folder")).unwrap(), b"a file");
    assert_eq!(std::fs::read_dir(grove.path("elsewhere")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_existing_tree_is_brought_up_to_date_durably_as_well() {
    let grove = Grove::with_files(300, 2_000);
    std::fs::create_dir_all(grove.path("new/tree")).unwrap();
    let got = got(grove.get_with("new", &[])).await;
    assert_eq!((got.code, told(&got, "files")), (Some(0), 300), "{got:?}");
    grove.assert_got("new");
}

#[tokio::test]
async fn folders_that_are_here_keep_time_and_permissions_unless_what_differs_is_replaced() {
    let grove = Grove::new();
    grove.serve(".ssh/known_hosts", b"theirs");
    grove.serve("new/file", b"theirs");
    let served = grove.path("server_files/tree");
    for folder in [".ssh", "new"] {
        set_mode(&served.join(folder), 0o777);
    }
    let here = grove.path("here/tree");
    std::fs::create_dir_all(here.join(".ssh")).unwrap();
    set_mode(&here.join(".ssh"), 0o700);
    assert_eq!(got(grove.get_masked("here", "022", &[])).await.code, Some(0));
    assert_eq!((mode(&here.join(".ssh")), mode(&here.join("new"))), (0o700, 0o775));
    assert_eq!(modified(&here.join("new")), modified(&served.join("new")));

    assert_eq!(got(grove.get_masked("here", "022", &["-f"])).await.code, Some(0));
    assert_eq!(mode(&here.join(".ssh")), 0o775);
    assert_eq!(modified(&here.join(".ssh")), modified(&served.join(".ssh")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_a_killed_attempt_has_made_gets_its_permissions_and_time_from_the_next() {
    let grove = Grove::with_files(2, 100);
    grove.serve_file("tree/folder 000/large", 8 * MIB);
    let here = grove.path("here/tree");
    std::fs::create_dir_all(&here).unwrap();
    let proxy = ChaosProxy::start(grove.server.addr(), |_| {
        Plan::clean().with(Direction::ToClient, 3 * MIB, FaultKind::Stall)
    })
    .await;
    let url = format!("{}/tree", proxy.addr());
    // The large file never comes whole over one connection.
    let args = ["get", "-r", "--plain", "--no-sync", "-j1", &url, "-d", "here"];
    let mut client = grove.towline(args).args(["--timeout", "600"]).spawn().unwrap();
    assert!(!ended_before(&mut client, || here.join("folder 000").exists()), "it has ended");
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(got(grove.get("here")).await.code, Some(0));
    grove.assert_got("here");
}

#[tokio::test]
async fn everybody_may_write_only_where_the_users_mask_leaves_them_that() {
    let grove = Grove::new();
    grove.serve("folder/small", b"x");
    grove.serve_file("tree/large", 3 * MIB);
    let served = grove.path("server_files/tree");
    for path in ["folder", "folder/small", "large"] {
        set_mode(&served.join(path), 0o777);
    }
    for (place, is_there) in [("new", false), ("there", true)] {
        if is_there {
            std::fs::create_dir_all(grove.path(place).join("tree")).unwrap();
        }
        assert_eq!(got(grove.get_masked(place, "077", &[])).await.code, Some(0));
        for path in ["folder", "folder/small", "large"] {
            assert_eq!(mode(&grove.path(place).join("tree").join(path)), 0o775, "{place}/{path}");
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[tokio::test]
async fn what_is_mounted_within_a_tree_that_is_here_is_brought_up_to_date_as_well() {
    const NAME: &str = "native::trees::existing::what_is_mounted_within_a_tree_that_is_here_is_brought_up_to_date_as_well";
    if !has_own_mounts(NAME) {
        return;
    }
    let grove = Grove::with_files(30, 5_000);
    grove.serve_file("tree/folder 001/large", 3 * MIB);
    let mounted = grove.path("new/tree/folder 001");
    std::fs::create_dir_all(&mounted).unwrap();
    let Some(_mounted) = Mounted::in_memory(&mounted, 16 * MIB) else { return };
    std::fs::write(mounted.join("file 00011"), "another content").unwrap();
    let got = got(grove.get_with("new", &["-f"])).await;
    assert_eq!((got.code, told(&got, "files")), (Some(0), 31), "{got:?}");
    grove.assert_got("new");
    assert!(std::fs::read_dir(&mounted).unwrap().count() == 11, "no part is left");
}

/// A tree that is here in whole but for a small and a large file of another content, whose size and time are as they
/// were; and one file of another time, whose content is as it was.
async fn damaged_unseen() -> Grove {
    let grove = Grove::with_files(60, 5_000);
    grove.serve_file("tree/large", 3 * MIB);
    assert_eq!(got(grove.get("new")).await.code, Some(0));
    for (path, damage) in
        [("folder 001/file 00011", true), ("large", true), ("folder 002/file 00022", false)]
    {
        let path = grove.path("new/tree").join(path);
        let mut content = std::fs::read(&path).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        if damage {
            content[0] ^= 1;
        }
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(if damage { modified } else { SystemTime::now() }).unwrap();
    }
    grove
}

#[tokio::test]
async fn a_large_file_of_another_time_gets_the_one_on_the_server_and_nothing_else() {
    let grove = Grove::with_files(3, 100);
    grove.serve_file("tree/large", 3 * MIB);
    assert_eq!(got(grove.get("new")).await.code, Some(0));
    let touched = std::fs::File::options().write(true).open(grove.path("new/tree/large")).unwrap();
    touched.set_modified(SystemTime::now()).unwrap();
    let again = got(grove.get_with("new", &["-f"])).await;
    assert_eq!((again.code, told(&again, "received_bytes")), (Some(0), 0), "{again:?}");
    let progress = again.events.iter().rfind(|event| event["event"] == "progress").unwrap();
    assert_eq!(progress["bytes"], progress["size"], "what was found is there");
    grove.assert_got("new");
}

#[tokio::test]
async fn with_checksum_the_content_counts_and_not_size_and_time() {
    let grove = damaged_unseen().await;
    let without = got(grove.get_with("new", &["-f"])).await;
    assert_eq!((without.code, told(&without, "files")), (Some(0), 1), "{without:?}");

    let told_only = got(grove.get_with("new", &["--checksum"])).await;
    assert_eq!((told_only.code, failed(&told_only).len()), (Some(23), 2), "{told_only:?}");
    let with = got(grove.get_with("new", &["--checksum", "-f"])).await;
    assert_eq!((with.code, told(&with, "files"), told(&with, "same_files")), (Some(0), 2, 59));
    grove.assert_got("new");
}

#[tokio::test]
async fn a_dry_run_with_checksum_tells_by_content_what_would_come_and_moves_nothing() {
    let grove = damaged_unseen().await;
    grove.serve("added/file", b"added");
    let before = grove.leaves("new");
    let dry = got(grove.get_with("new", &["--dry-run", "--checksum", "-f"])).await;
    assert_eq!((dry.code, told(&dry, "same_files")), (Some(0), 59), "{dry:?}");
    assert_eq!(would_come(&dry), ["added/file", "folder 001/file 00011", "large"]);

    // What may not be replaced would fail, as it would without `--dry-run`.
    let without = got(grove.get_with("new", &["--dry-run", "--checksum"])).await;
    assert_eq!((without.code, would_come(&without)), (Some(23), vec!["added/file"]));
    let mut refused = failed(&without);
    refused.sort_unstable();
    let other = "what is here has another content; -f replaces it";
    assert_eq!(refused, [("folder 001/file 00011", other), ("large", other)]);

    assert_eq!((told(&dry, "received_bytes"), told(&without, "received_bytes")), (0, 0));
    assert!(grove.leaves("new") == before, "something was written");
}

/// What a dry run told, in the order of paths.
fn would_come(got: &Got) -> Vec<&str> {
    let told = got.events.iter().filter(|event| event["event"] == "would_fetch");
    let mut paths: Vec<_> = told.map(|event| event["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    paths
}
