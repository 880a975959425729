//! Attempts that end before their time: what came is not moved again.

use tokio::task::spawn_blocking;
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};
use towline_testkit::deadline::poll;
use towline_testkit::process::ServerProcess;

use super::support::{Grove, noted, told};
use crate::native::support::{MIB, ended_before, got, got_of};
use crate::support::{is_full, run};

#[tokio::test]
async fn connections_for_which_the_server_has_no_place_leave_their_work_to_the_others() {
    few_connections_bring_all(&Grove::with_files(8_000, 100)).await;
    let large = Grove::new();
    for number in 0..40 {
        large.serve_file(&format!("tree/{number}"), 3 * MIB + number);
    }
    few_connections_bring_all(&large).await;
}

/// With so few connections at a server that some are turned away.
async fn few_connections_bring_all(grove: &Grove) {
    let places = 3;
    let most = places.to_string();
    let few = ["serve", "server_files", "-p0", "-b127.0.0.1", "--max-per-source", &most];
    let server = ServerProcess::start(&mut grove.towline(few));
    let proxy = ChaosProxy::start(server.addr(), |_| Plan::clean()).await;
    let url = format!("{}/tree", proxy.addr());
    let get =
        ["get", "-r", "--plain", "--json", "--no-sync", "-j16", "--retries", "0", "-d", "new"];
    let all = got(grove.towline(get.into_iter().chain([&*url]))).await;
    assert_eq!(all.code, Some(0), "{all:?}");
    assert!(proxy.connections() > places, "all had a place: {all:?}");
    grove.assert_got("new");
}

#[tokio::test]
async fn a_server_that_is_gone_once_it_has_listed_large_files_ends_the_run() {
    let grove = Grove::new();
    for number in 0..4 {
        grove.serve_file(&format!("tree/{number}"), 2 * MIB + number);
    }
    let proxy = ChaosProxy::start(grove.server.addr(), |connection| match connection {
        0 => Plan::clean(),
        _ => Plan::clean().with(Direction::ToClient, 0, FaultKind::Cut),
    })
    .await;
    let url = format!("{}/tree", proxy.addr());
    let get = ["get", "-r", "--plain", "--json", "--retries", "1", "--timeout", "1s", "-d", "new"];
    got(grove.towline(get.into_iter().chain([&*url]))).await.assert_failed(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_after_kill_9_moves_no_finished_file_again() {
    let files = if is_full() { 100_000 } else { 5_000 };
    let grove = Grove::with_files(files, 100);
    let url = |address| format!("{address}/tree");
    let proxy = ChaosProxy::start(grove.server.addr(), |_| Plan::clean()).await;
    let mut ls = grove.towline(["ls", "-R", "--plain", &url(proxy.addr())]);
    let listed = spawn_blocking(move || run(&mut ls)).await.unwrap();
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let listing_bytes = proxy.forwarded(Direction::ToClient);
    for (folder, is_there) in [("new", false), ("existing", true)] {
        if is_there {
            std::fs::create_dir_all(grove.path(folder).join("tree")).unwrap();
        }
        // Each run is killed once it has brought another tenth; at the latest it stands still before it has brought a
        // third. The first connection lists as well.
        let (mut moved_files, mut kills) = (0, 0);
        for round in 1..=3 {
            let proxy = ChaosProxy::start(grove.server.addr(), move |connection| {
                let place = files * 12 + if connection == 0 { listing_bytes } else { 0 };
                Plan::clean().with(Direction::ToClient, place, FaultKind::Stall)
            })
            .await;
            let url = url(proxy.addr());
            let args = [
                "get",
                "-r",
                "--plain",
                "--json",
                "--no-sync",
                "-j2",
                &url,
                "-d",
                folder,
                "--timeout",
                "600",
            ];
            let mut client = grove.towline(args).spawn().unwrap();
            let enough = moved_files + files / 10;
            let has_ended = ended_before(&mut client, || noted(&grove, folder) >= enough);
            assert!(!has_ended, "{folder}: it ended before round {round} had come so far");
            client.kill().unwrap();
            client.wait().unwrap();
            moved_files = noted(&grove, folder);
            kills += 1;
        }
        let rest = got(grove.get(folder)).await;
        assert_eq!(rest.code, Some(0), "{rest:?}");
        grove.assert_got(folder);
        let kept = told(&rest, "kept_files") + told(&rest, "same_files");
        assert_eq!(told(&rest, "files") + kept, files);
        assert!(
            kept >= moved_files,
            "{kept} of {moved_files} noted files were kept, {kills} kills"
        );
        println!(
            "{folder}: {kills} kills; the rerun kept {kept} files, and moved {}",
            files - kept
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_costs_no_file_that_came() {
    let grove = Grove::with_files(600, 9_000);
    let proxy = ChaosProxy::start(grove.server.addr(), |connection| {
        // All that these bring is less than the tree.
        let place = 50_000 + 5_000 * connection as u64;
        if connection < 16 {
            Plan::clean().with(Direction::ToClient, place, FaultKind::Cut)
        } else {
            Plan::clean()
        }
    })
    .await;
    let url = format!("{}/tree", proxy.addr());
    let args = ["get", "-r", "--plain", "--json", "--no-sync", &url, "-d", "new"];
    let got = got(grove.towline(args)).await;
    assert_eq!((got.code, told(&got, "files")), (Some(0), 600), "{got:?}");
    assert!(told(&got, "lost_connections") > 0);
    grove.assert_got("new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_only_its_file() {
    let grove = Grove::with_files(600, 9_000);
    let proxy = ChaosProxy::start(grove.server.addr(), |connection| {
        let flip = FaultKind::Flip { mask: 4 };
        // The first connection lists.
        let plan = Plan::clean();
        if connection == 1 { plan.with(Direction::ToClient, 300_000, flip) } else { plan }
    })
    .await;
    let url = format!("{}/tree", proxy.addr());
    let args = ["get", "-r", "--plain", "--json", "--no-sync", &url, "-d", "new"];
    let got = got(grove.towline(args)).await;
    assert_eq!((got.code, told(&got, "files")), (Some(0), 600), "{got:?}");
    grove.assert_got("new");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_transfers_of_one_tree_do_not_meet() {
    let grove = Grove::with_files(200, 9_000);
    let proxy = ChaosProxy::start(grove.server.addr(), |_| {
        Plan::clean().with(Direction::ToClient, 100_000, FaultKind::Stall)
    })
    .await;
    let url = format!("{}/tree", proxy.addr());
    let args =
        ["get", "-r", "--plain", "--json", "--no-sync", &url, "-d", "new", "--timeout", "600"];
    let mut first = grove.towline(args).spawn().unwrap();
    poll("the first transfer", || (noted(&grove, "new") > 0).then_some(()));
    got(grove.get("new")).await.assert_failed(9);
    let waiting = grove.get_with("new", &["--no-sync", "--wait"]).spawn().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&first),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let interrupted = first.wait().unwrap();
    assert_eq!(interrupted.code(), Some(130));
    let rest = got_of(waiting).await;
    assert_eq!(rest.code, Some(0), "{rest:?}");
    assert!(told(&rest, "kept_files") > 0);
    grove.assert_got("new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_of_a_killed_attempt_goes_on_where_it_ended() {
    let grove = Grove::with_files(20, 1_000);
    grove.serve_file("tree/folder 001/large", 12 * MIB);
    for (folder, is_there) in [("new", false), ("existing", true)] {
        if is_there {
            std::fs::create_dir_all(grove.path(folder).join("tree")).unwrap();
        }
        let proxy = ChaosProxy::start(grove.server.addr(), |_| {
            Plan::clean().with(Direction::ToClient, 5 * MIB, FaultKind::Stall)
        })
        .await;
        let url = format!("{}/tree", proxy.addr());
        let args = ["get", "-r", "--plain", "--json", "--no-sync", "-j1", &url, "-d", folder];
        let mut client = grove.towline(args).args(["--timeout", "600"]).spawn().unwrap();
        let journal = |folder: &std::path::Path| {
            let entries = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
            let name = "..large.journal.towline-part.towline-part";
            entries
                .into_iter()
                .find(|entry| entry.file_name() == name)
                .map(|entry| entry.metadata().map_or(0, |metadata| metadata.len()))
        };
        // Each piece's record has its index and 32 bytes of hash.
        let has_ended = ended_before(&mut client, || journal(&grove.path(folder)) > Some(4 * 40));
        assert!(!has_ended, "{folder}: it ended before it stood still");
        client.kill().unwrap();
        client.wait().unwrap();
        let rest = got(grove.get(folder)).await;
        assert_eq!(rest.code, Some(0), "{rest:?}");
        assert!(told(&rest, "kept_bytes") >= 3 * MIB, "{folder}: {rest:?}");
        grove.assert_got(folder);
    }
}
