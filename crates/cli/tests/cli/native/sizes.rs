//! Files of every size around the pieces' ends.

use std::time::Instant;

use super::support::{Done, Ground, MIB, Wire, got, side_by_side};

const SIZES: [u64; 7] = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 9 * MIB + 77];

async fn arrives(wire: Wire, size: u64, args: &'static [&'static str]) {
    let ground = Ground::over(wire, size);
    let mut command = ground.get("got");
    command.args(args);
    let done = got(command).await.done();
    ground.assert_got("got", &done);
    let expected = (size, size, 0, 0, 0);
    let Done { size, received_bytes, kept_bytes, repaired_bytes, lost_connections, .. } = done;
    assert_eq!((size, received_bytes, kept_bytes, repaired_bytes, lost_connections), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_around_a_piece_arrives_over_one_connection_and_no_byte_twice() {
    for wire in Wire::BOTH {
        side_by_side(SIZES.map(|size| arrives(wire, size, &["-j1"]))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_around_a_piece_arrives_over_eight_connections() {
    let of_both = Wire::BOTH.into_iter().flat_map(|wire| SIZES.map(|size| (wire, size)));
    side_by_side(of_both.map(|(wire, size)| async move {
        let ground = Ground::over(wire, size);
        let mut command = ground.get("got");
        command.arg("-j8");
        let done = got(command).await.done();
        ground.assert_got("got", &done);
        assert_eq!((done.size, done.kept_bytes, done.lost_connections), (size, 0, 0));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_network_brings_no_more_than_a_piece_per_four_connections_twice() {
    const SIZE: u64 = 64 * MIB;
    for connections in [8, 64] {
        let ground = Ground::with_file(SIZE);
        let mut command = ground.get("got");
        command.args(["-j", &connections.to_string()]);
        let began = Instant::now();
        let done = got(command).await.done();
        let seconds = began.elapsed().as_secs();
        ground.assert_got("got", &done);
        let twice = done.received_bytes - SIZE;
        // None where all get on. On a busy machine some stand still, and who stands still for a second is not waited
        // for: in each that went by, every other connection may have taken over a piece.
        let allowed = connections * MIB / 4 + seconds * (connections - 1) * MIB;
        assert!(twice <= allowed, "-j {connections}: {twice} bytes came twice in {seconds} s");
    }
}
