//! The worked example of the native protocol in `PROTOCOL.md`, replayed.

// A test's helpers fail its test, as the test itself does.
#![allow(clippy::unwrap_used)]

use std::ops::Range;

use towline_proto::name::RemoteName;
use towline_proto::native::frame::data_header;
use towline_proto::native::message::{Answer, Info, Request, Version};
use towline_proto::native::preface::Preface;
use towline_proto::piece::{Geometry, PieceHash, PieceHasher};

const PROTOCOL: &str = include_str!("../../../PROTOCOL.md");
const CONTENT: &[u8] = b"hello";

/// What the example shows: each part's label, and its bytes as this code makes them.
fn parts() -> Vec<(&'static str, Vec<u8>)> {
    let name = RemoteName::parse(b"a.txt").unwrap();
    let version = Version::new(b"VERSION").unwrap();
    let geometry = Geometry::of(CONTENT.len() as u64).unwrap();
    let mut hasher = PieceHasher::new(geometry, 0).unwrap();
    hasher.update(CONTENT);
    let hash: PieceHash = hasher.finish().unwrap();
    let info = Info {
        version: version.clone(),
        geometry,
        modified_ns: 1,
        mode: 0o644,
        root: None,
        stored_bytes: 4_096,
    };
    let runs = vec![Range { start: 0, end: 1 }];
    let fetch = Request::Fetch { name: name.clone(), version, runs };
    vec![
        ("preface", Preface::OURS.encode().to_vec()),
        ("Stat", Request::Stat { name }.encode()),
        ("Info", Answer::Info(info).encode()),
        ("Fetch", fetch.encode()),
        ("Data", [&data_header(CONTENT.len())[..], CONTENT].concat()),
        ("Piece", Answer::Piece { index: 0, hash }.encode()),
        ("Done", Answer::Done.encode()),
    ]
}

/// As it stands in the document: a label in a column of its own, then bytes in hexadecimal.
fn shown(parts: &[(&str, Vec<u8>)]) -> String {
    let lines = parts.iter().flat_map(|(label, bytes)| {
        bytes.chunks(20).enumerate().map(move |(line, bytes)| {
            let label = if line == 0 { label } else { "" };
            let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{label:9} {}\n", bytes.join(" "))
        })
    });
    lines.collect()
}

#[test]
fn the_native_example_is_what_goes_over_the_wire() {
    let expected = shown(&parts());
    let section = PROTOCOL.split("## The native protocol").nth(1).unwrap();
    let example = section.split("### An example").nth(1).unwrap().split("```\n").nth(1).unwrap();
    assert_eq!(example, expected, "PROTOCOL.md should show:\n{expected}");
}
