//! Sparse files: a hole travels as its length and stays a hole.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::support::{Ground, MIB, got};

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
