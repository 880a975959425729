//! What an earlier run left is distrusted: its part and its journal may hold anything.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use towline_testkit::deadline::poll;

use super::support::{Done, Ground, MIB, got};
use crate::support::{needs, needs_root};

const SIZE: u64 = 8 * MIB + 5;

/// Pieces that the earlier run left, at least.
const LEFT: u64 = 5;

/// Leaves a part, has it damaged, and resumes.
async fn resumed(damage: impl FnOnce(&Ground)) -> Done {
    let ground = Ground::with_file(SIZE);
    ground.leave_part("got", LEFT).await;
    damage(&ground);
    let done = got(ground.get("got")).await.done();
    ground.assert_got("got", &done);
    done
}

/// Everything came anew, once.
fn assert_all_fetched(done: &Done) {
    assert_eq!(done.kept_bytes, 0, "{done:?}");
    assert!(done.received_bytes >= SIZE, "{done:?}");
}

/// Some came anew.
fn assert_kept(done: &Done, pieces: u64) {
    assert!(done.kept_bytes >= pieces * MIB, "{done:?}");
    assert!(done.kept_bytes + done.received_bytes >= SIZE, "{done:?}");
    assert_eq!(done.repaired_bytes, 0, "what is kept did not come: {done:?}");
}

fn open(path: &Path) -> std::fs::File {
    OpenOptions::new().write(true).open(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_part_is_kept() {
    assert_kept(&resumed(|_| ()).await, LEFT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_before_it_has_looked_at_the_part_loses_nothing_of_it() {
    let ground = Ground::with_file(SIZE);
    ground.leave_part("got", LEFT).await;
    let noted = ground.journaled("got");
    for _ in 0..10 {
        let before = std::fs::metadata(ground.journal_path("got")).unwrap().modified().unwrap();
        let mut client = ground.get("got").args(["-j1", "--limit-rate", "1"]).spawn().unwrap();
        poll("a journal begun anew", || {
            let metadata = std::fs::metadata(ground.journal_path("got")).unwrap();
            (metadata.modified().unwrap() != before && metadata.len() > 0).then_some(())
        });
        client.kill().unwrap();
        client.wait().unwrap();
        assert!(ground.journaled("got") >= noted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_byte_costs_its_piece() {
    let done = resumed(|ground| {
        let part = open(&ground.part("got"));
        part.write_all_at(b"damage", 2 * MIB - 3).unwrap();
    })
    .await;
    assert_kept(&done, LEFT - 2);
    assert!(done.received_bytes >= SIZE - (LEFT - 1) * MIB, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_part_costs_what_is_missing() {
    let cut = |ground: &Ground| open(&ground.part("got")).set_len(3 * MIB + 7).unwrap();
    let done = resumed(cut).await;
    assert_kept(&done, 3);
    assert_eq!(done.kept_bytes, 3 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_longer_than_the_file_is_cut() {
    let lengthen = |ground: &Ground| open(&ground.part("got")).set_len(2 * SIZE).unwrap();
    assert_kept(&resumed(lengthen).await, LEFT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_gone_costs_everything() {
    let remove = |ground: &Ground| std::fs::remove_file(ground.part("got")).unwrap();
    assert_all_fetched(&resumed(remove).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_gone_costs_everything() {
    let remove = |ground: &Ground| std::fs::remove_file(ground.journal_path("got")).unwrap();
    assert_all_fetched(&resumed(remove).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_journal_is_believed_as_far_as_it_is_whole() {
    let done = resumed(|ground| {
        let length = std::fs::metadata(ground.journal_path("got")).unwrap().len();
        open(&ground.journal_path("got")).set_len(length - 5).unwrap();
    })
    .await;
    assert_kept(&done, LEFT - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_garbage_is_ignored() {
    for garbage in [&b""[..], b"towline journal 2\n", &[0xff; 4_096], b"towline journal 1\n\xff"] {
        let write = |ground: &Ground| std::fs::write(ground.journal_path("got"), garbage).unwrap();
        assert_all_fetched(&resumed(write).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_version_is_held_against_the_servers_hashes() {
    let done = resumed(|ground| {
        // The same content in another file: another version.
        let copy = ground.path("server_files/copy");
        std::fs::copy(ground.served(), &copy).unwrap();
        std::fs::rename(copy, ground.served()).unwrap();
    })
    .await;
    assert_kept(&done, LEFT);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_parts_and_the_journals_places_are_not_followed() {
    let ground = Ground::with_file(SIZE);
    std::fs::create_dir(ground.path("got")).unwrap();
    for place in [ground.part("got"), ground.journal_path("got")] {
        std::fs::write(ground.path("precious"), "precious").unwrap();
        std::os::unix::fs::symlink(ground.path("precious"), &place).unwrap();
        got(ground.get("got")).await.assert_failed(7);
        assert_eq!(std::fs::read(ground.path("precious")).unwrap(), b"precious");
        assert!(!ground.path("got/file").exists());
        // A run that had nothing to keep may have removed it.
        let _ = std::fs::remove_file(place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_needs_no_room_for_what_it_has() {
    if !needs_root() || !needs("unshare") {
        return;
    }
    let ground = Ground::with_file(SIZE);
    ground.leave_part("got", LEFT).await;
    std::fs::create_dir(ground.path("small")).unwrap();
    let get = ground.get("small");
    // Less room is left than the whole file needs, and enough for the rest of it.
    let script = "mount -t tmpfs -o size=10m none small \
                  && cp --sparse=always got/.*.towline-part small && exec \"$@\"";
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", script, "sh"]).arg(get.get_program()).args(get.get_args());
    shell.current_dir(ground.root()).stderr(Stdio::piped());
    let done = got(shell).await.done();
    assert!(done.kept_bytes >= LEFT * MIB, "{done:?}");
}
