//! The native protocol, both ways.

use std::fmt::Display;
use std::ops::Range;

use towline_proto::limits::{
    CONTROL_BYTES_MAX, DATA_BYTES_MAX, ENTRIES_MAX, FETCH_RUNS_MAX, HASHES_MAX, LISTED_MAX,
    PATTERN_BYTES_MAX, PATTERNS_BYTES_MAX, PIECES_MAX, RULES_MAX, SECRET_BYTES_MAX, USER_BYTES_MAX,
    VERSION_BYTES_MAX,
};
use towline_proto::name::RemoteName;
use towline_proto::native::frame::{HEADER_BYTES, Header, Kind, control, data_header};
use towline_proto::native::message::{Answer, Info, Proof, Refusal, Request, Version};
use towline_proto::native::preface::{Capabilities, PREFACE_BYTES, Preface};
use towline_proto::piece::{Geometry, PieceHash};

use super::is_printable;

/// Longest text of a made refusal, in bytes; each may become three.
const TEXT_BYTES_MAX: usize = 10_000;

/// A preface that is accepted demands nothing unknown and comes through again; one with these offers comes
/// through as it is.
///
/// # Panics
/// Where that does not hold.
pub fn native_preface(bytes: &[u8]) {
    if let Some(bytes) = bytes.first_chunk::<PREFACE_BYTES>() {
        match Preface::decode(bytes) {
            Ok(preface) => {
                assert_eq!(preface.required.missing_from(Capabilities::SPOKEN), Capabilities(0));
                assert_eq!(Preface::decode(&preface.encode()), Ok(preface));
            }
            Err(error) => assert!(is_printable(&error.to_string()), "{error:?}"),
        }
    }
    if let Some(offered) = bytes.first_chunk() {
        let offered = Capabilities(u32::from_be_bytes(*offered));
        let preface = Preface { offered, ..Preface::OURS };
        assert_eq!(Preface::decode(&preface.encode()), Ok(preface));
    }
}

/// A header that decodes is within its kind's cap; a control frame that its checksum lets through is the very
/// bytes that its kind and payload make.
///
/// # Panics
/// Where that does not hold.
pub fn native_frame(bytes: &[u8]) {
    let Some((header_bytes, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return };
    let header = match Header::decode(header_bytes) {
        Ok(header) => header,
        Err(error) => return assert!(is_printable(&error.to_string()), "{error:?}"),
    };
    assert!(header.length <= header.kind.bytes_max());
    if header.kind == Kind::Data {
        return assert_eq!(data_header(header.length), *header_bytes);
    }
    let Some(payload) = rest.get(..header.length) else { return };
    let frame = control(header.kind, payload);
    let is_whole = header.check(payload).is_ok();
    assert_eq!(is_whole, frame == bytes[..HEADER_BYTES + header.length]);
}

/// A request that decodes is within its caps and comes through again; one made of these bytes comes through.
/// The first byte is the frame's kind, the rest its payload.
///
/// # Panics
/// Where that does not hold.
pub fn native_request(bytes: &[u8]) {
    let kinds = [
        Kind::Stat,
        Kind::Fetch,
        Kind::Hashes,
        Kind::Cancel,
        Kind::Data,
        Kind::Info,
        Kind::List,
        Kind::FetchTree,
        Kind::LogIn,
    ];
    let Some((kind, payload)) = split_kind(bytes, &kinds) else { return };
    if let Some(request) = judge(Request::decode(kind, payload)) {
        check_request(&request);
        survives(&request, Request::encode, Request::decode);
    }
    if let Some(request) = request_of(payload) {
        survives(&request, Request::encode, Request::decode);
    }
}

/// An answer that decodes is within its caps and comes through again; one made of these bytes comes through.
/// The first byte is the frame's kind, the rest its payload.
///
/// # Panics
/// Where that does not hold.
pub fn native_answer(bytes: &[u8]) {
    let kinds = [
        Kind::Info,
        Kind::Piece,
        Kind::Hole,
        Kind::HashList,
        Kind::Done,
        Kind::Error,
        Kind::Heartbeat,
        Kind::Data,
        Kind::Stat,
        Kind::Entries,
        Kind::File,
    ];
    let Some((kind, payload)) = split_kind(bytes, &kinds) else { return };
    if let Some(answer) = judge(Answer::decode(kind, payload)) {
        check_answer(&answer);
        survives(&answer, Answer::encode, Answer::decode);
    }
    for answer in answers_of(payload) {
        survives(&answer, Answer::encode, Answer::decode);
    }
}

/// The kind and the payload, which is never longer than a frame's.
fn split_kind<'a>(bytes: &'a [u8], kinds: &[Kind]) -> Option<(Kind, &'a [u8])> {
    let (number, payload) = bytes.split_first()?;
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    Some((kinds[usize::from(*number) % kinds.len()], payload))
}

/// The message, where there is one; an error can be printed.
fn judge<T, E: Display>(decoded: Result<T, E>) -> Option<T> {
    match decoded {
        Ok(message) => Some(message),
        Err(error) => {
            let text = error.to_string();
            assert!(is_printable(&text), "{text:?}");
            None
        }
    }
}

/// What is sent is what is received, in a frame that its own checksum lets through.
fn survives<T, E>(
    message: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(Kind, &[u8]) -> Result<T, E>,
) where
    T: PartialEq + std::fmt::Debug,
    E: PartialEq + std::fmt::Debug,
{
    let frame = encode(message);
    let (header, payload) = frame.split_first_chunk().expect("a frame has a header");
    let header = Header::decode(header).expect("what is sent is within its cap");
    assert_eq!(header.length, payload.len());
    assert_eq!(header.check(payload), Ok(()));
    assert_eq!(decode(header.kind, payload).as_ref(), Ok(message));
}

fn check_request(request: &Request) {
    match request {
        Request::Stat { .. } | Request::Cancel => {}
        Request::Fetch { version, runs, .. } => {
            check_version(version);
            assert!((1..=FETCH_RUNS_MAX).contains(&runs.len()));
            assert!(runs.iter().all(|run| !run.is_empty() && run.end <= PIECES_MAX));
        }
        Request::Hashes { version, pieces, .. } => {
            check_version(version);
            assert!((1..=HASHES_MAX as usize).contains(&pieces.len()));
            assert!(pieces.end <= PIECES_MAX);
        }
        Request::List(list) => {
            assert!(list.rules.len() <= RULES_MAX && (1..=LISTED_MAX).contains(&list.entries_max));
            assert!(list.rules.iter().all(|rule| rule.pattern.len() <= PATTERN_BYTES_MAX));
            let all: usize = list.rules.iter().map(|rule| rule.pattern.len()).sum();
            assert!(all <= PATTERNS_BYTES_MAX);
        }
        Request::FetchTree(fetch) => assert!((1..=ENTRIES_MAX).contains(&fetch.files.len())),
        Request::LogIn(proof) => {
            let (user, secret) = match proof {
                Proof::Password { user, password } => (user.as_str(), password),
                Proof::Token(token) => ("", token),
            };
            assert!(user.len() <= USER_BYTES_MAX);
            assert!((1..=SECRET_BYTES_MAX).contains(&secret.reveal().len()));
        }
    }
}

fn check_answer(answer: &Answer) {
    match answer {
        Answer::Info(info) => {
            check_version(&info.version);
            assert!(info.geometry.count() <= PIECES_MAX);
        }
        Answer::Hole { bytes } => assert!(*bytes > 0),
        Answer::HashList { hashes, .. } => {
            assert!((1..=HASHES_MAX as usize).contains(&hashes.len()));
        }
        Answer::Entries(entries) => assert!(entries.entries.len() <= ENTRIES_MAX),
        Answer::File(Ok(file)) => assert!(file.size <= DATA_BYTES_MAX),
        Answer::Piece { .. }
        | Answer::Done
        | Answer::Error(_)
        | Answer::Heartbeat
        | Answer::File(Err(_)) => {}
    }
}

fn check_version(version: &Version) {
    assert!(version.as_bytes().len() <= VERSION_BYTES_MAX);
}

/// Takes runs from the bytes, then a name; the version is the name's beginning.
fn request_of(bytes: &[u8]) -> Option<Request> {
    let (count, rest) = bytes.split_first()?;
    let (runs, name) = rest.as_chunks::<4>().0.split_at_checked(usize::from(*count))?;
    let name = RemoteName::parse(name.as_flattened()).ok()?;
    let version = name.as_bytes();
    let version = Version::new(&version[..version.len().min(VERSION_BYTES_MAX)]).ok()?;
    let run = |bytes: &[u8; 4]| -> Range<u32> {
        let first = u32::from_be_bytes(*bytes) % PIECES_MAX;
        first..(first + 1 + u32::from(bytes[0])).min(PIECES_MAX)
    };
    let runs: Vec<_> = runs.iter().map(run).collect();
    Some(match runs.as_slice() {
        [] => Request::Stat { name },
        [pieces] => Request::Hashes { name, version, pieces: pieces.clone() },
        _ => Request::Fetch { name, version, runs },
    })
}

/// Takes numbers from the bytes, then a version, hashes and a text, all from the same place.
fn answers_of(bytes: &[u8]) -> Vec<Answer> {
    let Some((&fixed, rest)) = bytes.split_first_chunk::<16>() else { return Vec::new() };
    let [low, high] = *fixed.as_chunks::<8>().0 else { return Vec::new() };
    let (low, high) = (u64::from_be_bytes(low), u64::from_be_bytes(high));
    let index = fixed[3].into();
    let mut answers = vec![Answer::Hole { bytes: low.max(1) }];
    let version = Version::new(&rest[..rest.len().min(VERSION_BYTES_MAX)]);
    if let (Ok(version), Ok(geometry)) = (version, Geometry::of(low >> (high % 64))) {
        let root = rest.first_chunk().map(|root| blake3::Hash::from_bytes(*root));
        let modified_ns = high.cast_signed();
        answers.push(Answer::Info(Info {
            version,
            geometry,
            modified_ns,
            mode: index,
            root,
            stored_bytes: high,
        }));
    }
    let hashes = rest.as_chunks().0.iter().take(HASHES_MAX as usize);
    let hashes: Vec<_> = hashes.map(|hash| PieceHash(*hash)).collect();
    if let [hash, ..] = *hashes {
        answers.push(Answer::Piece { index, hash });
        answers.push(Answer::HashList { first: index, hashes });
    }
    let code = Answer::decode(Kind::Error, &[0x08, fixed[0] & 0x7F]);
    if let Ok(Answer::Error(Refusal { code, .. })) = code {
        let text = String::from_utf8_lossy(&rest[..rest.len().min(TEXT_BYTES_MAX)]).into_owned();
        answers.push(Answer::Error(Refusal { code, text, retry: fixed[1] & 1 == 1 }));
    }
    answers
}
