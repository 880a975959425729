//! One server ends and the next begins: transfers go on with it where they were.

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Gate, Plan};
use towline_testkit::process::Signal;

use super::support::{Ground, MIB, Wire, got_of};

const TRANSFERS: u64 = 20;
const SIZE: u64 = 5 * MIB + 77;

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_during_twenty_transfers_costs_none_of_them_more_than_the_pieces_in_flight() {
    let (mut ground, gate) = (Ground::over(Wire::Tls, SIZE), Gate::new());
    // Each connection stands still in the middle of its second piece until the server drains.
    let shut = gate.clone();
    let proxy = ChaosProxy::start(ground.server.addr(), move |_| {
        let place = MIB + MIB / 2;
        Plan::clean().with(Direction::ToClient, place, FaultKind::Hold(shut.clone()))
    })
    .await;
    let folders: Vec<_> = (0..TRANSFERS).map(|number| format!("got{number}")).collect();
    let mut clients = Vec::new();
    for folder in &folders {
        let mut command = ground.get_from(proxy.addr(), folder);
        clients.push(command.args(["-j2", "--timeout", "600"]).spawn().unwrap());
    }
    for folder in &folders {
        ground.wait_journaled(folder, 1);
    }
    ground.server.signal(Signal::TERM);
    ground.server.wait_line("shutting down");
    gate.open();
    // It ends by itself: what was asked for is answered, and nothing more.
    assert_eq!(ground.server.wait().code(), Some(0));
    let lines = ground.server.lines_to_the_end();
    assert!(lines.iter().any(|line| line.contains("all connections are closed")), "{lines:?}");
    ground.restart_server();
    for (folder, client) in folders.iter().zip(clients) {
        let got = got_of(client).await;
        let done = got.done();
        ground.assert_got(folder, &done);
        assert!(done.lost_connections > 0, "{folder}: {done:?}");
        assert!(done.received_bytes <= SIZE + 2 * MIB, "{folder}: {done:?}");
    }
}
