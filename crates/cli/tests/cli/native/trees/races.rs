//! Somebody on this machine moves folders while a tree comes.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Gate, Plan};

use super::support::Grove;
use crate::native::support::{MIB, ended_before, got, got_now};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_becomes_a_link_during_the_transfer_leads_nowhere() {
    let grove = Grove::with_files(2_000, 100);
    std::fs::create_dir(grove.path("elsewhere")).unwrap();
    std::fs::create_dir_all(grove.path("new/tree")).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (folder, aside) = (grove.path("new/tree/folder 100"), grove.path("aside"));
            while !ended.load(Ordering::Relaxed) {
                if std::fs::rename(&folder, &aside).is_ok() {
                    let _ = symlink(grove.path("elsewhere"), &folder);
                    std::thread::yield_now();
                    let _ = std::fs::remove_file(&folder);
                    let _ = std::fs::rename(&aside, &folder);
                }
                std::thread::yield_now();
            }
        });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            for _ in 0..20 {
                let got = runtime.block_on(got(grove.get("new")));
                assert!(matches!(got.code, Some(0 | 23)), "{got:?}");
                let _ = std::fs::remove_dir_all(grove.path("new/tree"));
                std::fs::create_dir_all(grove.path("new/tree")).unwrap();
            }
        });
        ended.store(true, Ordering::Relaxed);
    });
    let astray = std::fs::read_dir(grove.path("elsewhere")).unwrap().count();
    assert_eq!(astray, 0, "files went through a link");
}

/// Fetches two large files, one after the other, into `new/tree`. Once the first one has begun, puts `folder` aside and
/// a link to `elsewhere` into its place; what is in `elsewhere` must stay as it is.
async fn swapped_while_large_files_come(grove: &Grove, folder: &Path) {
    for name in ["tree/large 1", "tree/large 2"] {
        grove.serve_file(name, 3 * MIB);
    }
    std::fs::create_dir_all(grove.path("elsewhere/0")).unwrap();
    std::fs::write(grove.path("elsewhere/0/precious"), "mine").unwrap();
    // No file is whole before the gate is open.
    let gate = Gate::new();
    let shut = gate.clone();
    let proxy = ChaosProxy::start(grove.server.addr(), move |_| {
        Plan::clean().with(Direction::ToClient, MIB, FaultKind::Hold(shut.clone()))
    })
    .await;
    let url = format!("{}/tree", proxy.addr());
    let args = ["get", "-r", "--plain", "--json", "--no-sync", "-j1", &url, "-d", "new"];
    let mut client = grove.towline(args).args(["--timeout", "600"]).spawn().unwrap();
    let is_begun = || {
        let entries = walkdir::WalkDir::new(grove.path("new")).into_iter().filter_map(Result::ok);
        entries.into_iter().any(|entry| entry.file_name() == ".large 1.towline-part")
    };
    assert!(!ended_before(&mut client, is_begun), "it ended before the first file began");
    std::fs::rename(folder, grove.path("aside")).unwrap();
    symlink(grove.path("elsewhere"), folder).unwrap();
    gate.open();
    let got = tokio::task::block_in_place(|| got_now(client));
    assert!(matches!(got.code, Some(0 | 23)), "{got:?}");
    let found = grove.leaves("elsewhere").into_keys().collect::<Vec<_>>();
    assert_eq!(found, ["0", "0/precious"], "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_a_tree_that_becomes_a_link_leads_nowhere() {
    let grove = Grove::new();
    std::fs::create_dir_all(grove.path("new/tree")).unwrap();
    swapped_while_large_files_come(&grove, &grove.path("new/tree")).await;
    // The folder that was meant has them, wherever it is now.
    for name in ["large 1", "large 2"] {
        let (served, here) = (grove.path("server_files/tree"), grove.path("aside"));
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&served) == read(&here), "{name} differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_in_which_a_tree_is_built_that_becomes_a_link_leads_nowhere() {
    let grove = Grove::new();
    swapped_while_large_files_come(
        &grove,
        &grove.path("new/..tree.tree.towline-part.towline-part"),
    )
    .await;
    grove.assert_got("new");
}
