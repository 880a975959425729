//! Messages survive the wire; what is beyond its cap does not.

use super::{Answer, ERROR_CODES, ErrorCode, Info, MessageError, Refusal, Request, Version, wire};
use crate::limits::{FETCH_RUNS_MAX, HASHES_MAX, PIECES_MAX};
use crate::name::RemoteName;
use crate::native::frame::{HEADER_BYTES, Header, Kind};
use crate::piece::{Geometry, PieceHash};
use prost::Message;

fn name() -> RemoteName {
    RemoteName::parse(b"dir/\xff.bin").unwrap()
}

fn version() -> Version {
    Version::new(&[7; 40]).unwrap()
}

fn split(frame: &[u8]) -> (Kind, &[u8]) {
    let header = Header::decode(frame[..HEADER_BYTES].try_into().unwrap()).unwrap();
    let payload = &frame[HEADER_BYTES..];
    header.check(payload).unwrap();
    (header.kind, payload)
}

#[test]
fn requests_survive_the_wire() {
    for request in [
        Request::Stat { name: name() },
        Request::Fetch { name: name(), version: version(), runs: vec![0..1, 5..PIECES_MAX] },
        Request::Hashes { name: name(), version: version(), pieces: 9..9 + HASHES_MAX },
        Request::Cancel,
    ] {
        let frame = request.encode();
        let (kind, payload) = split(&frame);
        assert_eq!(Request::decode(kind, payload), Ok(request));
    }
}

#[test]
fn answers_survive_the_wire() {
    let info = Info {
        version: version(),
        geometry: Geometry::of(3 << 20).unwrap(),
        modified_ns: -5,
        mode: 0o644,
        root: Some(blake3::hash(b"x")),
        stored_bytes: 5,
    };
    for answer in [
        Answer::Info(Info { root: None, ..info.clone() }),
        Answer::Info(info),
        Answer::Piece { index: 0, hash: PieceHash([3; 32]) },
        Answer::Hole { bytes: u64::MAX },
        Answer::HashList { first: 2, hashes: vec![PieceHash([4; 32]); HASHES_MAX as usize] },
        Answer::Done,
        Answer::Error(Refusal { code: ErrorCode::Changed, text: "x".into(), retry: true }),
        Answer::Heartbeat,
    ] {
        let frame = answer.encode();
        let (kind, payload) = split(&frame);
        assert_eq!(Answer::decode(kind, payload), Ok(answer));
    }
}

#[test]
fn runs_that_make_no_sense_are_refused() {
    let decode = |kind, runs: Vec<(u32, u32)>| {
        let runs = runs.into_iter().map(|(first, count)| wire::Run { first, count }).collect();
        let message = wire::Pieces { name: b"n".to_vec(), version: vec![], runs };
        Request::decode(kind, &message.encode_to_vec()).err()
    };
    for runs in [
        vec![],
        vec![(0, 0)],
        vec![(0, PIECES_MAX + 1)],
        vec![(u32::MAX, 1)],
        vec![(u32::MAX, u32::MAX)],
        vec![(0, 1); FETCH_RUNS_MAX + 1],
    ] {
        assert_eq!(decode(Kind::Fetch, runs.clone()), Some(MessageError::Runs), "{runs:?}");
        assert_eq!(decode(Kind::Hashes, runs), Some(MessageError::Runs));
    }
    assert_eq!(decode(Kind::Fetch, vec![(0, 1); FETCH_RUNS_MAX]), None);
    assert_eq!(decode(Kind::Hashes, vec![(0, HASHES_MAX + 1)]), Some(MessageError::Runs));
}

#[test]
fn unknown_fields_and_codes_are_let_through() {
    let mut payload = wire::Stat { name: b"n".to_vec() }.encode_to_vec();
    payload.extend_from_slice(&[0x78, 0x01]); // field 15, varint 1
    assert!(Request::decode(Kind::Stat, &payload).is_ok());
    let payload = wire::Error { code: 99, text: String::new(), retry: false }.encode_to_vec();
    let answer = Answer::decode(Kind::Error, &payload).unwrap();
    assert!(matches!(answer, Answer::Error(Refusal { code: ErrorCode::Other(99), .. })));
    for (number, code) in ERROR_CODES {
        assert_eq!((ErrorCode::of(number), code.number()), (code, number));
    }
}

#[test]
fn values_beyond_their_caps_are_refused() {
    assert!(Version::new(&[0; 65]).is_err());
    let bad_name = wire::Stat { name: b"../x".to_vec() }.encode_to_vec();
    assert!(matches!(Request::decode(Kind::Stat, &bad_name), Err(MessageError::Name(_))));
    let huge = wire::Info { size: u64::MAX, ..wire::Info::default() }.encode_to_vec();
    assert!(matches!(Answer::decode(Kind::Info, &huge), Err(MessageError::Size(_))));
    let short = wire::Piece { index: 0, hash: vec![0; 31] }.encode_to_vec();
    assert_eq!(Answer::decode(Kind::Piece, &short), Err(MessageError::Hashes));
    for hashes in [0, 31, 33, 32 * (HASHES_MAX as usize + 1)] {
        let list = wire::HashList { first: 0, hashes: vec![0; hashes] }.encode_to_vec();
        assert_eq!(Answer::decode(Kind::HashList, &list), Err(MessageError::Hashes));
    }
    assert_eq!(Answer::decode(Kind::Hole, b""), Err(MessageError::EmptyHole));
    assert_eq!(Request::decode(Kind::Done, b""), Err(MessageError::OutOfPlace(Kind::Done)));
    assert_eq!(Answer::decode(Kind::Data, b""), Err(MessageError::OutOfPlace(Kind::Data)));
}
