//! Cuts, stalls and flipped bytes at every phase, between the real client and the real server.

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};
use towline_testkit::process::ServerProcess;

use crate::support::{Ran, Site, finish};

const NAME: &str = "file.bin";
const SIZE: u64 = 300_000;

/// Length of the request, and of the reply before the content.
const REQUEST_BYTES: u64 = 4 + NAME.len() as u64;
const SIZE_FIELD: u64 = 2 + 4 + NAME.len() as u64;
const HEADER_BYTES: u64 = SIZE_FIELD + 8 + 32;

/// Where a flipped bit in the size can mean more than the disk holds, which is final.
const HUGE_SIZE: std::ops::Range<u64> = SIZE_FIELD..SIZE_FIELD + 4;

/// Places in the request and in the reply where something happens, one in each phase.
const PLACES: [(Direction, u64); 9] = [
    (Direction::ToServer, 0),
    (Direction::ToServer, REQUEST_BYTES / 2),
    (Direction::ToServer, REQUEST_BYTES - 1),
    (Direction::ToClient, 0),
    (Direction::ToClient, 1),
    (Direction::ToClient, HEADER_BYTES / 2),
    (Direction::ToClient, HEADER_BYTES - 1),
    (Direction::ToClient, HEADER_BYTES + SIZE / 2),
    (Direction::ToClient, HEADER_BYTES + SIZE - 1),
];

fn site() -> (Site, ServerProcess) {
    let site = Site::new();
    site.serve_file(NAME, SIZE);
    let server = site.server();
    (site, server)
}

/// Fetches through a network whose first connection has a fault. Sound ones that a busy machine keeps silent for longer
/// than the client bears are tried again as often as need be.
async fn fetch(site: &Site, server: &ServerProcess, plan: Plan) -> Ran {
    let proxy = ChaosProxy::start(server.addr(), move |connection| {
        if connection == 0 { plan.clone() } else { Plan::clean() }
    })
    .await;
    let mut command = site.client(NAME, proxy.addr());
    let patient = ["--max-retries", "100000", "--max-backoff", "1s"];
    let client = command.args(["--timeout", "500ms"]).args(patient).spawn().unwrap();
    tokio::task::spawn_blocking(|| finish(client)).await.unwrap()
}

async fn heals(kind: FaultKind) {
    let (site, server) = site();
    for (direction, place) in PLACES {
        let plan = Plan::clean().with(direction, place, kind.clone());
        let ran = fetch(&site, &server, plan).await;
        assert_eq!(ran.code, Some(0), "{kind:?} {direction:?} {place}: {ran:?}");
        site.assert_fetched(NAME);
        assert_eq!(site.fetched_names(), [NAME]);
        std::fs::remove_file(site.path("client_downloads").join(NAME)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_every_phase_is_healed() {
    heals(FaultKind::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_close_at_every_phase_is_healed() {
    heals(FaultKind::Close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_at_every_phase_is_healed() {
    heals(FaultKind::Stall).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_reply_is_found_and_healed() {
    let (site, server) = site();
    let header = 0..HEADER_BYTES;
    // A flipped byte in a length makes the client wait for bytes that never come, until its timeout.
    let content = [HEADER_BYTES, HEADER_BYTES + SIZE / 2, HEADER_BYTES + SIZE - 1];
    for place in header.chain(content) {
        let plan = Plan::clean().with(Direction::ToClient, place, FaultKind::Flip { mask: 0x01 });
        let ran = fetch(&site, &server, plan).await;
        if HUGE_SIZE.contains(&place) && ran.code == Some(7) {
            assert!(ran.stderr.contains("its file system has"), "byte {place}: {ran:?}");
            continue;
        }
        assert_eq!(ran.code, Some(0), "byte {place}: {ran:?}");
        assert!(ran.stderr.contains("trying again"), "byte {place} went unnoticed: {ran:?}");
        site.assert_fetched(NAME);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_never_matches_exits_6_and_is_not_published() {
    let (site, server) = site();
    let proxy = ChaosProxy::start(server.addr(), |_| {
        Plan::clean().with(Direction::ToClient, HEADER_BYTES, FaultKind::Flip { mask: 0x80 })
    })
    .await;
    let mut command = site.client(NAME, proxy.addr());
    let client = command.args(["--max-retries", "2"]).spawn().unwrap();
    let ran = tokio::task::spawn_blocking(|| finish(client)).await.unwrap();
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.contains("the checksum does not match"), "{ran:?}");
    assert!(site.fetched_names().is_empty());
}
