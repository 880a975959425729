//! Flipped bits: found wherever they are; in a piece's bytes, they cost that piece alone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use towline_proto::name::RemoteName;
use towline_proto::native::frame::{HEADER_BYTES, Header, Kind};
use towline_proto::native::message::Request;
use towline_proto::native::preface::{PREFACE_BYTES, Preface};
use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan, Recording};

use super::support::{Done, Ground, MIB, Wire, got, side_by_side};

const SIZE: u64 = 3 * MIB + 5;

/// Where a flipped bit makes one end wait for bytes that never come, this is what it costs.
const SILENCE_MAX: &str = "2s";

/// Length of what a client says before its first request for content.
fn question_bytes() -> u64 {
    let stat = Request::Stat { name: RemoteName::parse(b"file").unwrap() };
    (PREFACE_BYTES + stat.encode().len()) as u64
}

/// Length of the preface and the description with which the server begins.
fn description_bytes(server: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(server).unwrap();
    let stat = Request::Stat { name: RemoteName::parse(b"file").unwrap() };
    stream.write_all(&[&Preface::OURS.encode()[..], &stat.encode()].concat()).unwrap();
    stream.read_exact(&mut [0; PREFACE_BYTES]).unwrap();
    loop {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).unwrap();
        let header = Header::decode(&header).unwrap();
        stream.read_exact(&mut vec![0; header.length]).unwrap();
        if header.kind == Kind::Info {
            return (PREFACE_BYTES + HEADER_BYTES + header.length) as u64;
        }
        assert_eq!(header.kind, Kind::Heartbeat);
    }
}

/// What came of a flipped bit.
struct Flipped {
    done: Done,
    /// A server that a busy machine holds up says in between that it is alive: then the bit was not of what was meant.
    is_elsewhere: bool,
}

/// Fetches over one connection after the other, the first of which flips a bit. Silence is borne for as long as
/// `timeout` says.
async fn flipped(
    ground: &Ground,
    folder: &str,
    (direction, place): (Direction, u64),
    timeout: &str,
) -> Flipped {
    let recording = Recording::new();
    let recorded = recording.clone();
    let proxy = ChaosProxy::start(ground.server.addr(), move |connection| match connection {
        0 => {
            Plan::clean().with(direction, place, FaultKind::Flip { mask: 0x04 }).recorded(&recorded)
        }
        _ => Plan::clean(),
    })
    .await;
    let mut command = ground.get_from(proxy.addr(), folder);
    command.args(["-j1", "--timeout", timeout]);
    let done = got(command).await.done();
    ground.assert_got(folder, &done);
    let is_elsewhere = direction == Direction::ToClient && has_heartbeats(&recording.bytes());
    Flipped { done, is_elsewhere }
}

/// Whether there is a sign of life among the frames of a connection without encryption.
fn has_heartbeats(said: &[u8]) -> bool {
    let mut rest = said.get(PREFACE_BYTES..).unwrap_or_default();
    while let Some((header, behind)) = rest.split_first_chunk() {
        let Ok(header) = Header::decode(header) else { return false };
        if header.kind == Kind::Heartbeat {
            return true;
        }
        rest = behind.get(header.length..).unwrap_or_default();
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_pieces_bytes_costs_that_piece_alone() {
    let ground = Ground::with_file(SIZE);
    let content = description_bytes(ground.server.addr()) + HEADER_BYTES as u64;
    for place in [content, content + MIB / 2, content + MIB - 1, content + MIB + 100] {
        let flip = (Direction::ToClient, place);
        let flipped = flipped(&ground, &format!("got{place}"), flip, "600").await;
        let Done { received_bytes, repaired_bytes, lost_connections, .. } = flipped.done;
        let cost = (received_bytes, repaired_bytes, lost_connections);
        assert!(flipped.is_elsewhere || cost == (SIZE + MIB, MIB, 0), "{place}: {cost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_an_encrypted_transfer_costs_its_connection_and_no_verified_piece() {
    let ground = Arc::new(Ground::over(Wire::Tls, SIZE));
    let to_server = [3, 100, 1_000, 1_600, 1_700].map(|place| (Direction::ToServer, place));
    let to_client = [3, 50, 1_200, 1_500, 2_500, MIB / 2, MIB + MIB / 2, 3 * MIB];
    let to_client = to_client.map(|place| (Direction::ToClient, place));
    side_by_side(to_server.into_iter().chain(to_client).map(|(direction, place)| {
        let ground = Arc::clone(&ground);
        async move {
            let folder = format!("got{direction:?}{place}");
            let Flipped { done, .. } =
                flipped(&ground, &folder, (direction, place), SILENCE_MAX).await;
            assert_no_verified_piece_again(&done, &format!("{direction:?} {place}"));
            assert_eq!(done.repaired_bytes, 0, "the encryption lets no damage through: {done:?}");
        }
    }))
    .await;
}

/// Fails if more came twice than what a lost connection had at hand. A busy machine may cost more than the one that is
/// damaged.
fn assert_no_verified_piece_again(done: &Done, told: &str) {
    let at_hand_bytes = done.lost_connections.max(1) * MIB;
    assert!(done.received_bytes <= SIZE + at_hand_bytes, "{told}: {done:?}");
}

/// Flips a bit of every byte of `places`; each is found, and costs its connection and no verified piece.
async fn costs_a_connection(direction: Direction, places: impl Fn(u64) -> Vec<u64>) {
    let ground = Arc::new(Ground::with_file(SIZE));
    let places = places(description_bytes(ground.server.addr()));
    side_by_side(places.into_iter().map(|place| {
        let ground = Arc::clone(&ground);
        async move {
            let folder = format!("got{place}");
            let Flipped { done, is_elsewhere } =
                flipped(&ground, &folder, (direction, place), SILENCE_MAX).await;
            assert_no_verified_piece_again(&done, &format!("byte {place}"));
            assert!(is_elsewhere || done.repaired_bytes == 0, "byte {place}: {done:?}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_clients_preface_and_question_is_healed() {
    costs_a_connection(Direction::ToServer, |_| (0..question_bytes()).step_by(2).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_request_for_pieces_is_healed() {
    let request = question_bytes()..question_bytes() + 60;
    costs_a_connection(Direction::ToServer, |_| request.clone().step_by(5).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_servers_preface_and_description_is_healed() {
    costs_a_connection(Direction::ToClient, |end| (0..end).step_by(3).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_header_of_a_pieces_bytes_is_healed() {
    let header = HEADER_BYTES as u64;
    costs_a_connection(Direction::ToClient, |start| (start..start + header).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_pieces_hash_is_healed() {
    let after_bytes = HEADER_BYTES as u64 + MIB;
    costs_a_connection(Direction::ToClient, |start| {
        let frame = start + after_bytes;
        (frame..frame + HEADER_BYTES as u64 + 32).step_by(3).collect()
    })
    .await;
}
