//! One fault at an exact byte of the request, the header or the content: the next attempt heals it.

use towline_client::classic::AttemptError;
use towline_store::staged::StageError;
use towline_testkit::chaos::Direction::{self, ToClient, ToServer};
use towline_testkit::chaos::{FaultKind, Plan};
use towline_testkit::tree::random_bytes;

use super::{SILENCE_MAX, assert_whole, fetch_through};
use crate::support::{NOTHING_LEFT, header, reply, request, side_by_side};

const SMALL: &[u8] = b"a small file";

fn one(direction: Direction, at_byte: u64, kind: FaultKind) -> Plan {
    Plan::clean().with(direction, at_byte, kind)
}

fn header_bytes(content: &[u8]) -> u64 {
    header("file", content).encode().len() as u64
}

/// Every byte of the exchange: in the request, in the header, in the content.
fn every_byte() -> impl Iterator<Item = (Direction, u64)> {
    let request = (0..request("file").encode().len() as u64).map(|at| (ToServer, at));
    let reply = (0..reply("file", SMALL).len() as u64).map(|at| (ToClient, at));
    request.chain(reply)
}

/// A connection that ends at this byte is followed by exactly one that goes well.
async fn heals_an_end(direction: Direction, at_byte: u64, kind: FaultKind) {
    let plan = one(direction, at_byte, kind);
    let (fetch, outcome) = fetch_through(plan.clone(), SMALL, |fetch| fetch).await;
    assert_eq!(outcome.downloaded().attempts, 2, "{plan:?}");
    assert_whole(&fetch, &outcome, SMALL);
}

/// A connection that falls silent at this byte is given up and followed by one that goes well.
async fn heals_a_stall(direction: Direction, at_byte: u64) {
    let plan = one(direction, at_byte, FaultKind::Stall);
    let (fetch, outcome) = fetch_through(plan, SMALL, |fetch| fetch.silence_max(SILENCE_MAX)).await;
    assert!(outcome.retries()[0].error.contains("was silent"), "{:?}", outcome.retries());
    assert_whole(&fetch, &outcome, SMALL);
}

#[tokio::test]
async fn a_cut_at_every_byte_of_the_exchange_is_healed() {
    side_by_side(every_byte().map(|(direction, at)| heals_an_end(direction, at, FaultKind::Cut)))
        .await;
}

#[tokio::test]
async fn a_close_at_every_byte_of_the_exchange_is_healed() {
    side_by_side(every_byte().map(|(direction, at)| heals_an_end(direction, at, FaultKind::Close)))
        .await;
}

#[tokio::test]
async fn a_stall_at_every_byte_of_the_exchange_is_healed() {
    side_by_side(every_byte().map(|(direction, at)| heals_a_stall(direction, at))).await;
}

#[tokio::test]
async fn an_end_anywhere_in_a_longer_content_is_healed() {
    let content = random_bytes(300_000, 1);
    let first = header_bytes(&content);
    // Around the edges of a chunk, of a proxy's read, and of the content.
    let offsets = [0, 1, 4_096, 65_535, 65_536, 65_537, 200_000, 299_999];
    let kinds = [FaultKind::Cut, FaultKind::Close];
    let plans = kinds
        .into_iter()
        .flat_map(|kind| offsets.map(|at| one(ToClient, first + at, kind.clone())));
    side_by_side(plans.map(|plan| {
        let content = content.clone();
        async move {
            let (fetch, outcome) = fetch_through(plan, &content, |fetch| fetch).await;
            assert_eq!(outcome.downloaded().attempts, 2);
            assert_whole(&fetch, &outcome, &content);
        }
    }))
    .await;
}

/// What a flipped bit of the header may lead to.
async fn flip_in_header(at_byte: usize, mask: u8) {
    let encoded = header("file", SMALL).encode();
    let digits_at = encoded.len() - 32;
    let size_at = digits_at - 8;
    let plan = one(ToClient, at_byte as u64, FaultKind::Flip { mask });
    let (fetch, outcome) = fetch_through(plan, SMALL, |fetch| fetch).await;
    let flip = format!("byte {at_byte} ^ {mask:#04x}");
    if let Err(error) = &outcome.result {
        // A size that the disk has no room for is told at once, whoever made it up.
        let is_no_space = matches!(error.source, AttemptError::Stage(StageError::NoSpace { .. }));
        assert!(is_no_space && (size_at..digits_at).contains(&at_byte), "{flip}: {error}");
        assert_eq!(fetch.tree(), NOTHING_LEFT, "{flip}");
        return;
    }
    // The case of a hexadecimal digit says nothing; every other bit is found.
    let is_case = at_byte >= digits_at && mask == 0x20 && encoded[at_byte].is_ascii_alphabetic();
    assert_eq!(outcome.downloaded().attempts, if is_case { 1 } else { 2 }, "{flip}");
    assert_whole(&fetch, &outcome, SMALL);
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_header_is_found_and_never_published() {
    let length = header("file", SMALL).encode().len();
    let bits = (0..length).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)));
    side_by_side(bits.map(|(at, mask)| flip_in_header(at, mask))).await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_content_is_found_and_healed() {
    let content = random_bytes(200_000, 2);
    let first = header_bytes(&content);
    let bits = [(0, 0x01), (1, 0x80), (65_536, 0x10), (199_999, 0x01)];
    for (at, mask) in bits {
        let plan = one(ToClient, first + at, FaultKind::Flip { mask });
        let (fetch, outcome) = fetch_through(plan, &content, |fetch| fetch).await;
        let retries = outcome.retries();
        assert!(
            retries.len() == 1 && retries[0].error.contains("checksum does not match"),
            "{retries:?}"
        );
        assert_eq!(retries[0].discarded_bytes, 200_000);
        assert_whole(&fetch, &outcome, &content);
    }
}

#[tokio::test]
async fn repeated_bytes_anywhere_in_the_reply_are_found_and_healed() {
    let content = random_bytes(100_000, 3);
    let first = header_bytes(&content);
    let offsets = [1, 2, 6, 10, 18, first, first + 1, first + 50_000];
    side_by_side(offsets.into_iter().map(|at| {
        let content = content.clone();
        async move {
            let plan = one(ToClient, at, FaultKind::Duplicate { length: 100 });
            let (fetch, outcome) = fetch_through(plan, &content, |fetch| fetch).await;
            assert_eq!(outcome.downloaded().attempts, 2, "at {at}");
            assert_whole(&fetch, &outcome, &content);
        }
    }))
    .await;
}

#[tokio::test]
async fn a_slow_network_is_no_fault() {
    let content = random_bytes(50_000, 4);
    let throttle = FaultKind::Throttle { bytes_per_s: 100_000 };
    let (fetch, outcome) = fetch_through(one(ToClient, 0, throttle), &content, |fetch| fetch).await;
    assert_eq!(outcome.downloaded().attempts, 1);
    assert_whole(&fetch, &outcome, &content);
}
