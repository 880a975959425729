//! Trees that come whole.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use towline_client::journal;
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};

use super::support::{Grove, noted, told};
use crate::native::support::{MIB, ended_before, got};

#[tokio::test]
async fn a_tree_comes_whole_with_times_permissions_and_empty_folders() {
    let grove = Grove::with_files(200, 9_000);
    grove.serve("one byte", b"1");
    grove.serve("nothing", b"");
    grove.serve("a piece", &vec![7; usize::try_from(MIB).unwrap()]);
    grove.serve("\u{1f600} odd 'name\"\n", b"odd");
    let served = grove.path("server_files/tree");
    std::fs::create_dir_all(served.join("empty/emptier")).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH - Duration::from_millis(86_400_500);
    File::options()
        .write(true)
        .open(served.join("nothing"))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    for (name, mode) in [("one byte", 0o400), ("a piece", 0o775), ("empty", 0o750)] {
        std::fs::set_permissions(served.join(name), Permissions::from_mode(mode)).unwrap();
    }
    let got = got(grove.get("new")).await;
    assert_eq!((got.code, told(&got, "files"), told(&got, "failed_files")), (Some(0), 204, 0));
    grove.assert_got("new");
    assert_eq!(std::fs::read_dir(grove.path("new")).unwrap().count(), 1, "nothing else is left");
}

#[tokio::test]
async fn a_tree_comes_over_tls_as_well() {
    let grove = Grove::with_files(50, 9_000);
    let url = format!("{}/tree", grove.server.addr());
    let got = got(grove.towline(["get", "-r", "--json", &url, "-d", "new"])).await;
    assert_eq!(got.code, Some(0), "{got:?}");
    grove.assert_got("new");
}

#[tokio::test]
async fn large_files_among_small_ones_come_by_pieces() {
    let grove = Grove::with_files(30, 9_000);
    grove.serve_file("tree/large", 5 * MIB + 3);
    grove.serve_file("tree/larger", 9 * MIB);
    let got = got(grove.get("new")).await;
    assert_eq!((got.code, told(&got, "files")), (Some(0), 32), "{got:?}");
    grove.assert_got("new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_comes_over_several_connections_while_small_ones_come() {
    let (files, large) = (
        600,
        "new/..tree.tree.towline-part.towline-part/0/..large.journal.towline-part.towline-part",
    );
    let grove = Grove::with_files(files, 20_000);
    grove.serve_file("tree/large", 8 * MIB);
    // No connection brings more than one piece of the large file, or all of the small ones.
    let proxy = ChaosProxy::start(grove.server.addr(), |_| {
        Plan::clean().with(Direction::ToClient, 3 * MIB / 2, FaultKind::Stall)
    })
    .await;
    let url = format!("{}/tree", proxy.addr());
    let args = ["get", "-r", "--plain", "--json", "--no-sync", "-j4", &url, "-d", "new"];
    let mut client = grove.towline(args).args(["--timeout", "600"]).spawn().unwrap();
    let pieces = || {
        let journal = journal::decode(File::open(grove.path(large)).ok()?).unwrap();
        Some(journal?.pieces.count())
    };
    let is_both = || pieces() >= Some(2) && noted(&grove, "new") > 0;
    assert!(!ended_before(&mut client, is_both), "it ended without standing still");
    assert!(noted(&grove, "new") < files);
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(got(grove.get("new")).await.code, Some(0));
    grove.assert_got("new");
}

#[tokio::test]
async fn large_files_come_at_the_same_time_over_as_many_connections_as_there_may_be() {
    for (asked_for, for_large) in [("-j2", 1), ("-j6", 3)] {
        let grove = Grove::new();
        for number in 0..12 {
            grove.serve_file(&format!("tree/{number}"), 2 * MIB + number);
        }
        let proxy = ChaosProxy::start(grove.server.addr(), |_| Plan::clean()).await;
        let url = format!("{}/tree", proxy.addr());
        let args = ["get", "-r", "--plain", "--json", "--no-sync", asked_for, &url, "-d", "new"];
        let got = got(grove.towline(args)).await;
        assert_eq!((got.code, told(&got, "files")), (Some(0), 12), "{got:?}");
        grove.assert_got("new");
        let listing = 1;
        assert_eq!(proxy.connections(), listing + for_large, "{asked_for}");
    }
}

#[tokio::test]
async fn large_files_keep_time_and_permissions_as_small_ones_do() {
    let grove = Grove::new();
    grove.serve_file("tree/large", 3 * MIB);
    let served = grove.path("server_files/tree/large");
    std::fs::set_permissions(&served, Permissions::from_mode(0o6751)).unwrap();
    for (folder, is_there) in [("new", false), ("there", true)] {
        if is_there {
            std::fs::create_dir_all(grove.path(folder).join("tree")).unwrap();
        }
        assert_eq!(got(grove.get(folder)).await.code, Some(0));
        let (served, here) = (
            std::fs::metadata(&served).unwrap(),
            std::fs::metadata(grove.path(folder).join("tree/large")).unwrap(),
        );
        assert_eq!(here.modified().unwrap(), served.modified().unwrap());
        assert_eq!(here.mode() & 0o7777, 0o751, "{folder}");
    }
}

#[tokio::test]
async fn sparse_files_stay_sparse() {
    let grove = Grove::new();
    for (name, size) in [("small", MIB), ("large", 64 * MIB)] {
        let file = File::create(grove.path("server_files/tree").join(name)).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"content", size / 2).unwrap();
    }
    let got = got(grove.get("new")).await;
    assert_eq!(got.code, Some(0), "{got:?}");
    grove.assert_got("new");
    for name in ["small", "large"] {
        let blocks = std::fs::metadata(grove.path("new/tree").join(name)).unwrap().blocks();
        assert!(blocks * 512 < MIB / 2, "{name}: {blocks} blocks");
    }
}

#[tokio::test]
async fn no_bit_lets_somebody_act_as_somebody_else() {
    let grove = Grove::new();
    grove.serve("program", b"#!/bin/sh\n");
    let served = grove.path("server_files/tree/program");
    std::fs::set_permissions(served, Permissions::from_mode(0o6755)).unwrap();
    assert_eq!(got(grove.get("new")).await.code, Some(0));
    let mode = std::fs::metadata(grove.path("new/tree/program")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o755);
    let none = got(grove.get_with("plain", &["--no-sync", "--no-perms"])).await;
    assert_eq!(none.code, Some(0));
    let mode = std::fs::metadata(grove.path("plain/tree/program")).unwrap().mode();
    assert_eq!(mode & 0o111, 0, "{mode:o}");
}

#[tokio::test]
async fn links_are_left_out_and_counted_or_made_where_they_stay_inside() {
    let grove = Grove::new();
    grove.serve("folder/file", b"content");
    let served = grove.path("server_files/tree");
    let inside =
        [("to-folder", "folder"), ("folder/up", "../folder/file"), ("dangling", "nowhere")];
    for (name, target) in inside {
        symlink(target, served.join(name)).unwrap();
    }
    for (name, target) in [("out", "../.."), ("absolute", "/etc"), ("folder/hidden", "x/../../..")]
    {
        symlink(target, served.join(name)).unwrap();
    }
    let without = got(grove.get("without")).await;
    assert_eq!((without.code, told(&without, "skipped_links")), (Some(0), 6));
    assert_eq!(grove.leaves("without/tree").len(), 2);
    for _ in 0..2 {
        let with = got(grove.get_with("with", &["--no-sync", "--links"])).await;
        assert_eq!(
            (with.code, told(&with, "links"), told(&with, "skipped_links")),
            (Some(0), 3, 3)
        );
        for (name, target) in inside {
            assert_eq!(
                std::fs::read_link(grove.path("with/tree").join(name)).unwrap(),
                std::path::Path::new(target)
            );
        }
        assert_eq!(grove.leaves("with/tree").len(), 5);
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_would_come_and_changes_nothing() {
    let grove = Grove::with_files(20, 100);
    let dry = got(grove.get_with("new", &["-n"])).await;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    let would = dry.events.iter().filter(|event| event["event"] == "would_fetch").count();
    assert_eq!(would, 20);
    assert!(!grove.path("new").exists());
}
