//! What a server says of the content is checked against the content: pieces, holes, hashes, the root.

use towline_client::native::{Failure, SessionError};
use towline_proto::native::frame::data_header;
use towline_proto::native::message::{Answer, Info};
use towline_proto::piece::PieceHash;

use super::support::{
    CONTENT, asked_for_content, data, described, fails, fetch_from, fetch_request, info, piece_end,
    piece_hash, whole_answer,
};
use crate::support::assert_holds;

/// How often a piece may come damaged.
const DAMAGES_MAX: usize = 5;

/// The content with a hash that it does not have.
fn lie() -> Vec<u8> {
    let hash = PieceHash([7; 32]);
    [data(CONTENT), Answer::Piece { index: 0, hash }.encode(), Answer::Done.encode()].concat()
}

fn is_out_of_place(error: &SessionError) -> bool {
    matches!(error, SessionError::OutOfPlace)
}

#[tokio::test]
async fn a_piece_that_is_not_what_its_hash_says_is_fetched_again_alone() {
    let script = asked_for_content().send(lie()).expect(fetch_request(0, 1)).send(whole_answer());
    let (fetch, result) = fetch_from(script.hold()).await;
    let tally = result.unwrap().tally;
    assert_eq!((tally.repaired_bytes, tally.lost_connections), (CONTENT.len() as u64, 0));
    assert_holds(fetch.target(), CONTENT);
}

#[tokio::test]
async fn a_piece_that_is_damaged_each_time_is_given_up() {
    let asked_again = (0..DAMAGES_MAX).fold(asked_for_content().send(lie()), |script, _| {
        script.expect(fetch_request(0, 1)).send(lie())
    });
    let (fetch, result) = fetch_from(asked_again.hold()).await;
    let failure = result.unwrap_err().failure;
    assert!(matches!(failure, Failure::Damaged(0)), "{failure:?}");
    assert!(!fetch.target().exists());
}

#[tokio::test]
async fn a_piece_that_was_not_asked_for_is_refused() {
    let hash = piece_hash(CONTENT, 0);
    for index in [1, u32::MAX] {
        let other = [data(CONTENT), Answer::Piece { index, hash }.encode()].concat();
        fails(asked_for_content().send(other).hold(), is_out_of_place).await;
    }
}

#[tokio::test]
async fn more_content_than_the_piece_has_is_refused_before_it_is_read() {
    let length = CONTENT.len();
    for bytes in [
        data_header(length + 1).to_vec(),
        data_header(1 << 20).to_vec(),
        [data(CONTENT), data(b"x")].concat(),
    ] {
        fails(asked_for_content().send(bytes).hold(), is_out_of_place).await;
    }
}

#[tokio::test]
async fn a_hole_beyond_the_piece_is_refused() {
    let length = CONTENT.len() as u64;
    for bytes in [length + 1, 1 << 62, u64::MAX] {
        let hole = Answer::Hole { bytes }.encode();
        fails(asked_for_content().send(hole).hold(), is_out_of_place).await;
    }
    let after_content = [data(CONTENT), Answer::Hole { bytes: 1 }.encode()].concat();
    fails(asked_for_content().send(after_content).hold(), is_out_of_place).await;
}

#[tokio::test]
async fn a_piece_that_ends_early_is_refused() {
    let early = [data(&CONTENT[1..]), piece_end(CONTENT, 0)].concat();
    for bytes in [early, piece_end(CONTENT, 0), Answer::Done.encode()] {
        fails(asked_for_content().send(bytes).hold(), is_out_of_place).await;
    }
}

#[tokio::test]
async fn a_piece_in_single_bytes_and_holes_is_put_together() {
    let content = b"one\0\0\0two\0three\0";
    let mut frames = Vec::new();
    for byte in content {
        match byte {
            0 => frames.extend(Answer::Hole { bytes: 1 }.encode()),
            _ => frames.extend(data(&[*byte])),
        }
    }
    frames.extend(piece_end(content, 0));
    let script = described(&Answer::Info(info(content))).expect(fetch_request(0, 1));
    let (fetch, result) = fetch_from(script.send(frames).hold()).await;
    assert_eq!(result.unwrap().root, blake3::hash(content));
    assert_holds(fetch.target(), content);
}

#[tokio::test]
async fn a_root_that_the_pieces_do_not_make_up_is_a_mismatch() {
    let lying = Info { root: Some(blake3::hash(b"another")), ..info(CONTENT) };
    let script = described(&Answer::Info(lying)).expect(fetch_request(0, 1)).send(whole_answer());
    let (fetch, result) = fetch_from(script.hold()).await;
    let failure = result.unwrap_err().failure;
    assert!(matches!(failure, Failure::Mismatch { .. }), "{failure:?}");
    assert!(!fetch.target().exists());
}
