//! `kill -9` of either end again and again, at drawn points: no final name is ever wrong, and in the end little has
//! come twice.

use std::path::Path;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use towline_proto::escape::EscapedPath;
use towline_testkit::chaos::Direction;
use towline_testkit::random::Random;

use super::support::{FRAMING_BYTES_MAX, Ground, MIB, ended_before, got_now};
use crate::support::is_full;

const SIZE: u64 = 12 * MIB + 77;

/// Series of kills, side by side.
const SERIES: u64 = 10;

/// All that comes in a series, over all connections.
const BYTES_PER_S: u64 = 8 * MIB;

const OLD: &[u8] = b"what was there before";

/// Kills of a series.
fn kills() -> u64 {
    if is_full() { 10 } else { 1 }
}

/// What came of kills.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    transfers: u64,
    /// What came beyond the size of the files.
    twice_bytes: u64,
    /// The pieces that were in flight: at each kill, one on each connection.
    in_flight_bytes: u64,
}

impl Tally {
    fn killed(&mut self, connections: u64) {
        self.kills += 1;
        self.in_flight_bytes += connections * MIB;
    }

    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.transfers += other.transfers;
        self.twice_bytes += other.twice_bytes;
        self.in_flight_bytes += other.in_flight_bytes;
    }
}

/// One transfer of a series: where it goes, and how.
struct Drawn {
    folder: String,
    connections: u64,
    is_over_an_old_file: bool,
}

impl Drawn {
    /// The next transfer on this ground, with an older file in its place or without.
    fn next(ground: &Ground, random: &mut Random, transfer: u64) -> Self {
        let folder = format!("got{transfer}");
        let connections = 1 << random.below(3);
        let is_over_an_old_file = random.below(2) == 0;
        if is_over_an_old_file {
            std::fs::create_dir(ground.path(&folder)).unwrap();
            std::fs::write(ground.path(&folder).join("file"), OLD).unwrap();
        }
        Self { folder, connections, is_over_an_old_file }
    }

    fn args(&self) -> Vec<String> {
        let retries = ["-f", "--retries", "50"].map(String::from);
        [vec![format!("-j{}", self.connections)], retries.to_vec()].concat()
    }

    /// Bytes that come before the next kill: also less than a piece, also more than all that is missing.
    fn bytes_to_kill(&self, random: &mut Random) -> u64 {
        random.below((self.connections + 3) * MIB)
    }

    /// The final name holds what it held; or all of the new, where the kill came as it was renamed.
    fn assert_no_bad_final_name(&self, ground: &Ground) {
        let path = ground.path(&self.folder).join("file");
        let content = std::fs::read(&path).ok();
        let before = self.is_over_an_old_file.then(|| OLD.to_vec());
        let is_good = content == before || content == Some(read(&ground.served()));
        assert!(
            is_good,
            "{} holds {:?} bytes",
            EscapedPath(&path),
            content.map(|bytes| bytes.len())
        );
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Kills clients; whoever comes next goes on.
fn kill_clients(seed: u64, network: &Handle) -> Tally {
    let ground = Ground::with_file(SIZE);
    let mut random = Random::from_seed(seed);
    let mut tally = Tally::default();
    while tally.kills < kills() {
        let drawn = Drawn::next(&ground, &mut random, tally.transfers);
        let (mut came_bytes, mut frames_bytes) = (0, 0);
        loop {
            let proxy = network.block_on(ground.throttled(BYTES_PER_S / drawn.connections));
            let mut command = ground.get_from(proxy.addr(), &drawn.folder);
            let mut client = command.args(drawn.args()).spawn().unwrap();
            let is_last = tally.kills == kills();
            let place = if is_last { u64::MAX } else { drawn.bytes_to_kill(&mut random) };
            let came = || proxy.forwarded(Direction::ToClient);
            let has_ended = ended_before(&mut client, || came() >= place);
            if !has_ended {
                client.kill().unwrap();
                client.wait().unwrap();
                tally.killed(drawn.connections);
            }
            came_bytes += came();
            frames_bytes += SIZE.div_ceil(MIB) * FRAMING_BYTES_MAX;
            drawn.assert_no_bad_final_name(&ground);
            if has_ended {
                ground.assert_got(&drawn.folder, &got_now(client).done());
                break;
            }
        }
        tally.transfers += 1;
        tally.twice_bytes += came_bytes.saturating_sub(SIZE + frames_bytes);
    }
    tally
}

/// Kills servers; another takes the place of each, and clients find it.
fn kill_servers(seed: u64, network: &Handle) -> Tally {
    let mut ground = Ground::with_file(SIZE);
    let mut random = Random::from_seed(seed);
    let mut tally = Tally::default();
    while tally.kills < kills() {
        let drawn = Drawn::next(&ground, &mut random, tally.transfers);
        let proxy = network.block_on(ground.throttled(BYTES_PER_S / drawn.connections));
        let mut command = ground.get_from(proxy.addr(), &drawn.folder);
        let mut client = command.args(drawn.args()).spawn().unwrap();
        while tally.kills < kills() {
            let came = || proxy.forwarded(Direction::ToClient);
            let place = came() + 1 + drawn.bytes_to_kill(&mut random);
            if ended_before(&mut client, || came() >= place) {
                break;
            }
            ground.server.kill();
            drawn.assert_no_bad_final_name(&ground);
            ground.restart_server();
            tally.killed(drawn.connections);
        }
        let done = got_now(client).done();
        ground.assert_got(&drawn.folder, &done);
        tally.transfers += 1;
        tally.twice_bytes += done.received_bytes - SIZE;
    }
    tally
}

/// Runs all the series, and holds what came twice against what was in flight.
async fn killed(what: &str, series: fn(u64, &Handle) -> Tally) {
    let mut running = JoinSet::new();
    for seed in 0..SERIES {
        running.spawn_blocking(move || series(seed, &Handle::current()));
    }
    let mut sum = Tally::default();
    for tally in running.join_all().await {
        sum.add(&tally);
    }
    eprintln!("kill -9 of {what}: {sum:?}");
    assert_eq!(sum.kills, SERIES * kills());
    assert!(sum.twice_bytes <= sum.in_flight_bytes, "{sum:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_clients_costs_no_more_than_the_pieces_in_flight() {
    killed("clients", kill_clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_servers_costs_no_more_than_the_pieces_in_flight() {
    killed("servers", kill_servers).await;
}
