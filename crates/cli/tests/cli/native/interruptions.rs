//! Ends in the middle: `kill -9`, Ctrl-C, another server. What was verified never comes again.

use rustix::process::{Pid, Signal, kill_process};
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Gate, Plan};
use towline_testkit::random::Random;

use super::support::{Ground, MIB, Wire, got, got_of};

const SIZE: u64 = 12 * MIB + 77;

/// What a rerun may bring twice: the pieces that were in flight.
const IN_FLIGHT_BYTES: u64 = 2 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_thirty_points_costs_no_more_than_the_pieces_in_flight() {
    kill_9_at_points(Wire::Plain, 30).await;
    kill_9_at_points(Wire::Tls, 10).await;
}

async fn kill_9_at_points(wire: Wire, points: u32) {
    let ground = Ground::over(wire, SIZE);
    let mut random = Random::from_seed(30);
    for point in 0..points {
        let folder = format!("got{point}");
        let place = random.below(SIZE);
        let proxy = ChaosProxy::start(ground.server.addr(), move |_| {
            Plan::clean().with(Direction::ToClient, place, FaultKind::Stall)
        })
        .await;
        let mut command = ground.get_from(proxy.addr(), &folder);
        let mut client = command.args(["-j1", "--timeout", "600"]).spawn().unwrap();
        proxy.wait_forwarded(Direction::ToClient, place).await;
        // All but the piece at hand is verified and noted as soon as it has come.
        let whole_pieces = (place / MIB).saturating_sub(1);
        ground.wait_journaled(&folder, whole_pieces);
        client.kill().unwrap();
        client.wait().unwrap();
        assert!(!ground.path(&folder).join("file").exists(), "killed at byte {place}");
        // Over one connection, so that none takes over from another what comes late.
        let mut again = ground.get(&folder);
        again.arg("-j1");
        let done = got(again).await.done();
        ground.assert_got(&folder, &done);
        let missing = SIZE - whole_pieces * MIB;
        assert!(done.received_bytes <= missing + IN_FLIGHT_BYTES, "{place}: {done:?}");
        std::fs::remove_dir_all(ground.path(&folder)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_eight_connections_again_and_again_ends_with_the_whole_file() {
    for wire in Wire::BOTH {
        kill_9_of_eight_connections(wire).await;
    }
}

async fn kill_9_of_eight_connections(wire: Wire) {
    let ground = Ground::over(wire, SIZE);
    // So many of the connections bring a piece, and all stand still in the middle of one: together they never bring all.
    for whole in [1, 2, 3, 3] {
        let proxy = ChaosProxy::start(ground.server.addr(), move |connection| {
            let place = if connection < whole { MIB + MIB / 2 } else { MIB / 2 };
            Plan::clean().with(Direction::ToClient, place, FaultKind::Stall)
        })
        .await;
        let before = ground.journaled("got");
        let mut command = ground.get_from(proxy.addr(), "got");
        let mut client = command.args(["-j8", "--timeout", "600"]).spawn().unwrap();
        ground.wait_journaled("got", before + 1);
        client.kill().unwrap();
        client.wait().unwrap();
        assert!(!ground.path("got/file").exists());
    }
    let noted_bytes = ground.journaled_bytes("got", SIZE);
    // Over one connection, so that none takes over from another what comes late.
    let mut last = ground.get("got");
    last.arg("-j1");
    let done = got(last).await.done();
    ground.assert_got("got", &done);
    assert_eq!((done.kept_bytes, done.received_bytes), (noted_bytes, SIZE - noted_bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_exits_130_and_the_same_command_goes_on_from_there() {
    let ground = Ground::with_file(SIZE);
    for (folder, ending) in [("int", Signal::INT), ("term", Signal::TERM)] {
        let stalled = ground.stall(folder, 4).await;
        kill_process(Pid::from_child(&stalled.client), ending).unwrap();
        let interrupted = got_of(stalled.client).await;
        interrupted.assert_failed(130);
        assert!(interrupted.stderr.contains("interrupted after"), "{interrupted:?}");
        assert!(interrupted.stderr.contains("same command again"), "{interrupted:?}");
        assert!(!ground.path(folder).join("file").exists());
        let done = got(ground.get(folder)).await.done();
        ground.assert_got(folder, &done);
        assert!(done.kept_bytes >= 4 * MIB, "{done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_of_the_folder_at_another_address_goes_on() {
    let ground = Ground::with_file(SIZE);
    ground.leave_part("got", 5).await;
    let other = ground.server();
    assert_ne!(other.addr(), ground.server.addr());
    let done = got(ground.get_from(other.addr(), "got")).await.done();
    ground.assert_got("got", &done);
    assert!(done.kept_bytes >= 5 * MIB, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_outlives_its_server_and_finishes_with_the_next_one() {
    for (wire, ending) in
        [(Wire::Plain, Signal::TERM), (Wire::Plain, Signal::KILL), (Wire::Tls, Signal::KILL)]
    {
        let (mut ground, gate) = (Ground::over(wire, SIZE), Gate::new());
        let shut = gate.clone();
        let proxy = ChaosProxy::start(ground.server.addr(), move |_| {
            let place = MIB + MIB / 2;
            Plan::clean().with(Direction::ToClient, place, FaultKind::Hold(shut.clone()))
        })
        .await;
        let mut command = ground.get_from(proxy.addr(), "got");
        let client = command.args(["-j2", "--timeout", "600"]).spawn().unwrap();
        ground.wait_journaled("got", 2);
        // Transfers under way are not waited for.
        ground.server.signal(ending);
        ground.server.signal(ending);
        gate.open();
        ground.server.wait();
        ground.server = ground.server_at(ground.server.addr());
        let done = got_of(client).await.done();
        ground.assert_got("got", &done);
        assert!(done.lost_connections >= 1, "{done:?}");
        // Each connection had a piece under way, and may have taken over another.
        assert!(done.received_bytes <= SIZE + 4 * MIB, "{done:?}");
    }
}
