//! Sparse files: a hole travels as its length and stays a hole.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::process::{Pid, Signal, kill_process};

use towline_client::journal;
use towline_proto::piece::PieceHash;
use towline_testkit::deadline::poll;

use super::support::{Ground, MIB, got, got_of, most_memory};

const SIZE: u64 = 200 * MIB + 3;

/// Where content is, and how much: within a piece, across two, at the end.
const CONTENT: [(u64, usize); 3] =
    [(5 * MIB + 4_096, 10_000), (99 * MIB - 8_192, 16_384), (SIZE - 2, 2)];

/// Bytes that are stored of a file.
fn stored(file: &File) -> u64 {
    file.metadata().unwrap().blocks() * 512
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_stay_holes_and_do_not_travel() {
    let ground = Ground::with_file(0);
    let source = File::options().write(true).open(ground.served()).unwrap();
    source.set_len(SIZE).unwrap();
    for (offset, length) in CONTENT {
        source.write_all_at(&vec![7; length], offset).unwrap();
    }
    source.sync_all().unwrap();
    if stored(&source) > MIB {
        return towline_testkit::skip("the file system has no holes");
    }
    for (folder, connections) in [("one", "-j1"), ("eight", "-j8")] {
        let mut command = ground.get(folder);
        command.arg(connections);
        let done = got(command).await.done();
        ground.assert_got(folder, &done);
        assert_eq!(done.size, SIZE);
        assert!(done.received_bytes <= MIB, "{done:?}");
        let result = File::open(ground.path(folder).join("file")).unwrap();
        assert!(stored(&result) <= MIB, "{} bytes are stored", stored(&result));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_all_hole_arrives_without_a_byte() {
    let ground = Ground::with_file(0);
    File::options().write(true).open(ground.served()).unwrap().set_len(SIZE).unwrap();
    let done = got(ground.get("got")).await.done();
    ground.assert_got("got", &done);
    assert_eq!((done.size, done.received_bytes), (SIZE, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_replaces_what_an_earlier_run_left_in_its_place() {
    let ground = Ground::with_file(8 * MIB);
    ground.leave_part("got", 4).await;
    let source = File::options().write(true).open(ground.served()).unwrap();
    source.set_len(0).unwrap();
    source.set_len(8 * MIB).unwrap();
    let done = got(ground.get("got")).await.done();
    ground.assert_got("got", &done);
    assert_eq!(done.received_bytes, 0);
}

/// Every zero is hashed on both sides, which takes long for all of it: this goes on twice, and is left then.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_five_tebibytes_is_begun_and_gone_on_with_in_little_memory_and_room() {
    const HUGE: u64 = 5 << 40;
    const PIECE: u64 = 8 * MIB;
    let ground = Ground::with_file(0);
    let source = File::options().write(true).open(ground.served()).unwrap();
    if source.set_len(HUGE).is_err() {
        return towline_testkit::skip("the file system has no files of 5 TiB");
    }
    let content: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    for offset in [4_096, HUGE - content.len() as u64] {
        source.write_all_at(&content, offset).unwrap();
    }
    for _ in 0..2 {
        let left = ground.journaled("got");
        let mut command = ground.get("got");
        let client = command.arg("-j8").spawn().unwrap();
        ground.wait_journaled("got", left + 8);
        let has_first = |journal: journal::Journal| journal.pieces.get(0).is_some();
        poll("the first piece", || ground.journal("got").is_some_and(has_first).then_some(()));
        let memory = most_memory(client.id()).unwrap();
        assert!(memory < 64 * MIB, "{memory} bytes of memory");
        kill_process(Pid::from_child(&client), Signal::INT).unwrap();
        got_of(client).await.assert_failed(130);
        let part = File::open(ground.part("got")).unwrap();
        assert_eq!(part.metadata().unwrap().len(), HUGE);
        assert!(stored(&part) <= 2 * PIECE, "{} bytes are stored", stored(&part));
        let mut come = vec![0; content.len()];
        part.read_exact_at(&mut come, 4_096).unwrap();
        assert!(come == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_pieces_that_an_attempt_left_are_gone_on_with_in_little_memory() {
    const HUGE: u64 = 1 << 40;
    const PIECES: u32 = 1 << 20;
    let ground = Ground::with_file(0);
    let source = File::options().write(true).open(ground.served()).unwrap();
    if source.set_len(HUGE).is_err() {
        return towline_testkit::skip("the file system has no files of 1 TiB");
    }
    let client = ground.get("got").spawn().unwrap();
    ground.wait_journaled("got", 1);
    kill_process(Pid::from_child(&client), Signal::INT).unwrap();
    got_of(client).await.assert_failed(130);

    // A journal that names every piece, and none rightly: each is read again, found wrong, and fetched.
    let mut named = File::options().append(true).open(ground.journal_path("got")).unwrap();
    let records: Vec<u8> =
        (0..PIECES).flat_map(|index| journal::encode_piece(index, PieceHash([1; 32]))).collect();
    named.write_all(&records).unwrap();
    let before = named.metadata().unwrap().len();
    let client = ground.get("got").arg("-j8").spawn().unwrap();
    let has_grown = || named.metadata().unwrap().len() > before;
    poll("a piece that is fetched", || has_grown().then_some(()));
    let memory = most_memory(client.id()).unwrap();
    assert!(memory < 64 * MIB, "{memory} bytes of memory");
    kill_process(Pid::from_child(&client), Signal::INT).unwrap();
    got_of(client).await.assert_failed(130);
}
