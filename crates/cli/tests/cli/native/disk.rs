//! The local disk fails in the middle of a transfer: it fills up, or it cannot be written.

use std::io::Write;
use std::process::{Command, Stdio};

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Gate, Plan};

use super::mounted::{Mounted, has_own_mounts};
use super::support::{FRAMING_BYTES_MAX, Got, Ground, MIB, got, got_of};
use crate::support::{is_full, needs};

const SIZE: u64 = 12 * MIB + 5;

const OLD: &[u8] = b"what was there before";

/// Takes all the room that is left where `path` is.
fn fill(path: &std::path::Path) {
    let mut ballast = std::fs::File::create(path).unwrap();
    while ballast.write_all(&[1; 4_096]).is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_in_the_middle_is_told_and_the_transfer_goes_on_when_there_is_room() {
    const NAME: &str = "native::disk::a_disk_that_fills_up_in_the_middle_is_told_and_the_transfer_goes_on_when_there_is_room";
    if !has_own_mounts(NAME) {
        return;
    }
    let ground = Ground::with_file(SIZE);
    let Some(_disk) = Mounted::in_memory(&ground.path("got"), SIZE + 2 * MIB) else { return };
    // Each connection brings so many pieces and half of another before the disk is full.
    for (connections, of_each) in [("-j1", 3), ("-j4", 1)] {
        let gate = Gate::new();
        let (place, shut) = (of_each * (MIB + FRAMING_BYTES_MAX) + MIB / 2, gate.clone());
        let proxy = ChaosProxy::start(ground.server.addr(), move |_| {
            Plan::clean().with(Direction::ToClient, place, FaultKind::Hold(shut.clone()))
        })
        .await;
        let mut command = ground.get_from(proxy.addr(), "got");
        let client = command.args([connections, "--timeout", "600"]).spawn().unwrap();
        ground.wait_journaled("got", 3);
        let ballast = ground.path("got/ballast");
        fill(&ballast);
        gate.open();
        let failed = got_of(client).await;
        failed.assert_failed(7);
        let said = failed.stderr.contains("cannot write got/file: No space left on device")
            && failed.stderr.contains("make room");
        assert!(said, "{failed:?}");
        assert!(!ground.path("got/file").exists());
        // Also while there is no room, what is here stays.
        got(ground.get("got")).await.assert_failed(7);
        std::fs::remove_file(ballast).unwrap();
        let done = got(ground.get("got")).await.done();
        ground.assert_got("got", &done);
        assert!(done.kept_bytes >= 3 * MIB, "{done:?}");
        std::fs::remove_file(ground.path("got/file")).unwrap();
    }
}

/// Fetches over an older file, with a system call that fails; `None` where that cannot be had.
async fn got_with_failing(ground: &Ground, inject: &str) -> Option<Got> {
    std::fs::create_dir_all(ground.path("got")).unwrap();
    std::fs::write(ground.path("got/file"), OLD).unwrap();
    let get = ground.get_durably(ground.server.addr(), "got");
    let mut traced = Command::new("strace");
    let (calls, _) = inject.split_once(':').unwrap();
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    traced.args(["-e", &format!("inject={inject}")]).arg(get.get_program()).args(get.get_args());
    traced.current_dir(ground.root()).stderr(Stdio::piped());
    let got = got(traced).await;
    if got.stderr.contains("ptrace") && !is_full() {
        towline_testkit::skip("tracing is not permitted here");
        return None;
    }
    Some(got)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_synced_is_not_published_and_not_believed_later() {
    if !needs("strace") {
        return;
    }
    let ground = Ground::with_file(SIZE);
    let Some(failed) = got_with_failing(&ground, "fsync:error=EIO:when=1").await else { return };
    failed.assert_failed(7);
    let said = failed.stderr.contains("cannot sync got/file") && failed.stderr.contains("check it");
    assert!(said, "{failed:?}");
    assert!(failed.stderr.contains("nothing of it is kept"), "{failed:?}");
    assert!(!failed.stderr.contains("goes on from there"), "{failed:?}");
    assert_eq!(std::fs::read(ground.path("got/file")).unwrap(), OLD);
    // The system would take for written what it has failed to write.
    let done = got(ground.get_durably(ground.server.addr(), "got")).await.done();
    ground.assert_got("got", &done);
    assert_eq!((done.kept_bytes, done.received_bytes), (0, SIZE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_synced_is_no_success_and_the_name_holds_the_whole_file() {
    if !needs("strace") {
        return;
    }
    let ground = Ground::with_file(SIZE);
    let Some(failed) = got_with_failing(&ground, "fsync:error=EIO:when=2").await else { return };
    failed.assert_failed(7);
    assert!(failed.stderr.contains("cannot sync the folder of got/file"), "{failed:?}");
    let done = got(ground.get_durably(ground.server.addr(), "got")).await.done();
    ground.assert_got("got", &done);
    assert!(done.up_to_date);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_cannot_be_written_ends_the_run_and_those_before_it_are_kept() {
    if !needs("strace") {
        return;
    }
    let ground = Ground::with_file(SIZE);
    // Of each thread, the third write at a position fails.
    let inject = "pwrite64:error=EIO:when=3+";
    let Some(failed) = got_with_failing(&ground, inject).await else { return };
    failed.assert_failed(7);
    assert!(failed.stderr.contains("cannot write got/file"), "{failed:?}");
    assert_eq!(std::fs::read(ground.path("got/file")).unwrap(), OLD);
    let noted_bytes = ground.journaled_bytes("got", SIZE);
    let done = got(ground.get_durably(ground.server.addr(), "got")).await.done();
    ground.assert_got("got", &done);
    assert_eq!(done.kept_bytes, noted_bytes, "{done:?}");
}
