//! Many connections: what a dead or slow one has to do moves to the others.

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};

use super::support::{Ground, MIB, Wire, got, got_of};

const SIZE: u64 = 12 * MIB + 5;

/// Fetches over four connections of which the first is sound and the others follow `plan`. A piece at their
/// rate would take longer than the test may.
async fn completes(plan: Plan) {
    for wire in Wire::BOTH {
        completes_over(wire, plan.clone()).await;
    }
}

async fn completes_over(wire: Wire, plan: Plan) {
    let ground = Ground::over(wire, SIZE);
    let proxy = ChaosProxy::start(ground.server.addr(), move |connection| match connection {
        0 => Plan::clean(),
        _ => plan.clone(),
    })
    .await;
    let mut command = ground.get_from(proxy.addr(), "got");
    command.args(["-j4", "--timeout", "600"]);
    let done = got(command).await.done();
    ground.assert_got("got", &done);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_do_not_hold_up_the_sound_one() {
    let slow = FaultKind::Throttle { bytes_per_s: 1_024 };
    completes(Plan::clean().with(Direction::ToClient, 300, slow)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_hold_up_the_sound_one() {
    for place in [0, 300, MIB / 2, MIB + 500] {
        completes(Plan::clean().with(Direction::ToClient, place, FaultKind::Stall)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_always_cut_do_not_hold_up_the_sound_one() {
    completes(Plan::clean().with(Direction::ToClient, MIB / 2, FaultKind::Cut)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_never_let_in_do_not_hold_up_the_sound_one() {
    completes(Plan::clean().with(Direction::ToServer, 0, FaultKind::Cut)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_together_are_told_in_one_line() {
    let mut ground = Ground::with_file(4 * SIZE);
    let proxy = ground.throttled(MIB).await;
    let mut command = ground.get_from(proxy.addr(), "got");
    let client = command.args(["-j8", "--retries", "1"]).spawn().unwrap();
    ground.wait_journaled("got", 8);
    ground.server.kill();
    let got = got_of(client).await;
    got.assert_failed(5);
    let retrying = got.events.iter().filter(|event| event["event"] == "retrying");
    let attempts: Vec<_> = retrying.map(|event| event["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1], "{got:?}");
}
