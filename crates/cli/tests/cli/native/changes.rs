//! The source changes while it is fetched: the result is one version, and equal pieces are kept.

use std::fs::{File, FileTimes, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Gate, Plan};

use super::support::{Done, FRAMING_BYTES_MAX, Got, Ground, MIB, ended_before, got, got_of};

const SIZE: u64 = 12 * MIB + 5;

/// Pieces that have come before the change, at least.
const BEFORE: u64 = 6;

/// Where a connection is that has brought so many pieces and half of another.
fn in_the_midst(pieces: u64) -> u64 {
    pieces * (MIB + FRAMING_BYTES_MAX) + MIB / 2
}

/// A transfer whose first connection stands still in the middle until the gate is opened, and then is lost; the others
/// are sound.
async fn held(ground: &Ground, gate: &Gate) -> (Child, ChaosProxy) {
    let (place, gate) = (in_the_midst(BEFORE), gate.clone());
    let proxy =
        ChaosProxy::start(ground.server.addr(), move |connection| match connection {
            0 => Plan::clean()
                .with(Direction::ToClient, place, FaultKind::Hold(gate.clone()))
                .with(Direction::ToClient, place, FaultKind::Cut),
            _ => Plan::clean(),
        })
        .await;
    let mut command = ground.get_from(proxy.addr(), "got");
    let client = command.args(["-j1", "--timeout", "600"]).spawn().unwrap();
    ground.wait_journaled("got", BEFORE);
    (client, proxy)
}

/// A way to the server on which each connection stands still after so many pieces, until the gate is opened.
async fn gated(ground: &Ground, pieces: u64, gate: &Gate) -> ChaosProxy {
    let (place, gate) = (in_the_midst(pieces), gate.clone());
    ChaosProxy::start(ground.server.addr(), move |_| {
        Plan::clean().with(Direction::ToClient, place, FaultKind::Hold(gate.clone()))
    })
    .await
}

/// Changes the source in the middle of a transfer.
async fn changed(change: impl FnOnce(&Path)) -> (Ground, Got) {
    let (ground, gate) = (Ground::with_file(SIZE), Gate::new());
    let (client, _proxy) = held(&ground, &gate).await;
    change(&ground.served());
    gate.open();
    let got = got_of(client).await;
    (ground, got)
}

/// The change was noticed, and what is equal did not come again.
async fn keeps(pieces: u64, change: impl FnOnce(&Path)) -> Done {
    let (ground, got) = changed(change).await;
    let done = got.done();
    ground.assert_got("got", &done);
    assert!(done.kept_bytes >= pieces * MIB, "{done:?}");
    // Besides the changed pieces, the one in flight comes again.
    let again = (BEFORE - pieces + 2) * MIB;
    assert!(done.received_bytes <= done.size.max(SIZE) + again, "{done:?}");
    done
}

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touched_source_costs_nothing() {
    let touch = |path: &Path| open(path).set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    keeps(BEFORE, touch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_in_place_with_size_and_mtime_put_back_is_noticed() {
    keeps(BEFORE - 1, |path| {
        let modified = std::fs::metadata(path).unwrap().modified().unwrap();
        open(path).write_all_at(b"another", MIB + 3).unwrap();
        open(path).write_all_at(b"content", 10 * MIB).unwrap();
        open(path).set_modified(modified).unwrap();
    })
    .await;
}

/// Puts back the times that a file had before it was changed; its change time cannot be.
fn put_times_back(path: &Path, before: &Metadata) {
    let times = FileTimes::new()
        .set_accessed(before.accessed().unwrap())
        .set_modified(before.modified().unwrap());
    open(path).set_times(times).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_in_place_under_several_connections_is_noticed_and_equal_pieces_are_kept() {
    // Each connection brings so many pieces and half of another before the change: never all of them.
    for (connections, of_each, before) in [(2, 1, 2), (4, 2, 5), (8, 1, 3)] {
        let (ground, gate) = (Ground::with_file(SIZE), Gate::new());
        let proxy = gated(&ground, of_each, &gate).await;
        let mut command = ground.get_from(proxy.addr(), "got");
        command.args([&format!("-j{connections}"), "--timeout", "600"]);
        let client = command.spawn().unwrap();
        ground.wait_journaled("got", before);
        let come: Vec<u32> =
            ground.journal("got").unwrap().pieces.iter().map(|(index, _)| index).collect();
        let metadata = std::fs::metadata(ground.served()).unwrap();
        // A piece that has come, and all that have not: whichever are under way are among them.
        for piece in (0..=12).filter(|piece| *piece == come[0] || !come.contains(piece)) {
            let place = u64::from(piece) * MIB + 3;
            open(&ground.served()).write_all_at(b"x", place).unwrap();
        }
        put_times_back(&ground.served(), &metadata);
        gate.open();
        let done = got_of(client).await.done();
        ground.assert_got("got", &done);
        let length = |piece: &u32| (SIZE - u64::from(*piece) * MIB).min(MIB);
        let equal: u64 = come[1..].iter().map(length).sum();
        assert!(done.kept_bytes >= equal, "{come:?}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_source_is_fetched_with_equal_pieces_kept() {
    keeps(BEFORE - 1, |path| {
        let new = path.with_extension("new");
        std::fs::copy(path, &new).unwrap();
        open(&new).write_all_at(b"another", MIB).unwrap();
        std::fs::rename(new, path).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_truncated_in_the_middle_ends_as_it_is_now() {
    let done = keeps(3, |path| open(path).set_len(3 * MIB + 9).unwrap()).await;
    assert_eq!(done.size, 3 * MIB + 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_source_ends_empty() {
    let done = keeps(0, |path| open(path).set_len(0).unwrap()).await;
    assert_eq!(done.size, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_cut_to_a_piece_is_hashed_as_the_only_one() {
    let done = keeps(0, |path| open(path).set_len(MIB).unwrap()).await;
    assert_eq!(done.size, MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grown_source_is_fetched_to_its_new_end() {
    let done = keeps(BEFORE, |path| open(path).write_all_at(b"more", SIZE + MIB).unwrap()).await;
    assert_eq!(done.size, SIZE + MIB + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_source_exits_3_and_the_part_stays_for_its_return() {
    let (ground, got_before) = changed(|path| {
        std::fs::rename(path, path.with_extension("away")).unwrap();
    })
    .await;
    got_before.assert_failed(3);
    assert!(!ground.path("got/file").exists());
    std::fs::rename(ground.served().with_extension("away"), ground.served()).unwrap();
    let done = got(ground.get("got")).await.done();
    ground.assert_got("got", &done);
    assert!(done.kept_bytes >= BEFORE * MIB, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_keeps_growing_is_no_failure_of_the_network_and_what_came_is_kept() {
    let ground = Ground::with_file(SIZE);
    ground.leave_part("got", BEFORE).await;
    let (served, written) = (ground.served(), Arc::new(AtomicBool::new(true)));
    let goes_on = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        let mut file = OpenOptions::new().append(true).open(served).unwrap();
        while goes_on.load(Ordering::Relaxed) {
            file.write_all(b".").unwrap();
        }
    });
    let growing = got(ground.get("got")).await;
    written.store(false, Ordering::Relaxed);
    writer.join().unwrap();
    growing.assert_failed(1);
    assert!(growing.stderr.contains("file was not fetched"), "{growing:?}");
    assert!(growing.stderr.contains("it keeps changing on the server"), "{growing:?}");
    assert!(!growing.stderr.contains("trying again"), "{growing:?}");
    let done = got(ground.get("got")).await.done();
    ground.assert_got("got", &done);
    assert!(done.kept_bytes >= BEFORE * MIB, "{done:?}");
}

/// Puts a whole file of one letter in the source's place.
fn replace_by(ground: &Ground, letter: u8) {
    let new = ground.path("server_files/new");
    std::fs::write(&new, vec![letter; usize::try_from(SIZE).unwrap()]).unwrap();
    std::fs::rename(new, ground.served()).unwrap();
}

/// Writes one letter over the whole source where it is, and puts its times back.
fn rewrite_with(ground: &Ground, letter: u8) {
    let before = std::fs::metadata(ground.served()).unwrap();
    let content = vec![letter; usize::try_from(SIZE).unwrap()];
    open(&ground.served()).write_all_at(&content, 0).unwrap();
    put_times_back(&ground.served(), &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_replaced_again_and_again_never_gives_a_mixture() {
    never_gives_a_mixture(replace_by).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_rewritten_in_place_again_and_again_never_gives_a_mixture() {
    never_gives_a_mixture(rewrite_with).await;
}

/// Changes the whole source several times while it is fetched.
async fn never_gives_a_mixture(change: fn(&Ground, u8)) {
    let (ground, gate) = (Ground::with_file(SIZE), Gate::new());
    let proxy = gated(&ground, 1, &gate).await;
    let mut command = ground.get_from(proxy.addr(), "got");
    command.args(["-j4", "--limit-rate", "16M", "--timeout", "600"]);
    let mut client = command.spawn().unwrap();
    let version = || ground.journal("got").map(|journal| journal.version);
    for letter in b'a'..=b'f' {
        if ended_before(&mut client, || ground.journaled("got") > 0) {
            break;
        }
        let before = version();
        change(&ground, letter);
        // All were held until the first change; what each next one meets is the machine's affair.
        gate.open();
        // Gone at its end, begun anew when the change is noticed.
        if ended_before(&mut client, || version() != before) {
            break;
        }
    }
    let done = got_of(client).await.done();
    let content = std::fs::read(ground.path("got/file")).unwrap();
    assert_eq!(done.blake3, blake3::hash(&content).to_string());
    assert!(content.iter().all(|letter| *letter == content[0]), "a mixture: {done:?}");
}
