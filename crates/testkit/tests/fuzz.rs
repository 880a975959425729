//! The bodies of the fuzz targets, on the seeds of `fuzz/corpus` and on inputs drawn at random.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use towline_proto::escape::EscapedPath;
use towline_testkit::fuzz::TARGETS;

/// Long enough for the longest message and bytes after it.
const INPUT_BYTES_MAX: usize = 5_000;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", EscapedPath(folder)));
    entries
        .map(|entry| entry.expect("a folder can be listed").file_name())
        .map(|name| name.into_string().expect("names here are UTF-8"))
        .collect()
}

/// Every seed of a target, by file name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(target);
    let read = |name: String| {
        let bytes = fs::read(folder.join(&name)).expect("a seed can be read");
        (name, bytes)
    };
    names(&folder).into_iter().map(read).collect()
}

fn all_seeds() -> Vec<Vec<u8>> {
    TARGETS.iter().flat_map(|(target, _)| seeds(target)).map(|(_, bytes)| bytes).collect()
}

/// A change to a message, where it is long enough for it.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
    Repeat(Index, Index),
    Append(Vec<u8>),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Self::Append(more) => bytes.extend_from_slice(more),
            Self::Insert(at, more) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            _ if length == 0 => {}
            Self::Flip(at, mask) => bytes[at.index(length)] ^= mask,
            Self::Set(at, byte) => bytes[at.index(length)] = *byte,
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let interesting = select(b"\0\x01\x10\x7f\x80\xff/.\\\x1b0aAEO".as_slice());
    let few = || vec(any::<u8>(), 1..40);
    prop_oneof![
        (at(), 0_u32..8).prop_map(|(at, bit)| Mutation::Flip(at, 1 << bit)),
        (at(), interesting).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), few()).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        at().prop_map(Mutation::Cut),
        (at(), at()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        few().prop_map(Mutation::Append),
    ]
}

/// Targets whose body lies with the tests of the crate that they are of.
const ELSEWHERE: [&str; 1] = ["journal"];

#[test]
fn every_target_has_a_binary_and_every_binary_is_a_target() {
    let named = |suffix: &str| -> BTreeSet<String> {
        let names = TARGETS.iter().map(|(name, _)| *name).chain(ELSEWHERE);
        names.map(|name| format!("{name}{suffix}")).collect()
    };
    assert_eq!(names(&fuzz_folder().join("fuzz_targets")), named(".rs"));
    assert_eq!(names(&fuzz_folder().join("corpus")), named(""));
}

#[test]
fn every_seed_passes_and_no_target_is_without() {
    for (target, body) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for (name, bytes) in seeds {
            // Should the body panic, this is the last line.
            println!("{target}/{name}");
            body(&bytes);
        }
    }
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn arbitrary_bytes_pass(bytes in vec(any::<u8>(), 0..INPUT_BYTES_MAX)) {
        for (_, body) in TARGETS {
            body(&bytes);
        }
    }

    #[test]
    fn bent_messages_pass(
        mut bytes in select(all_seeds()),
        mutations in vec(mutation(), 1..6),
    ) {
        for mutation in mutations {
            mutation.apply(&mut bytes);
        }
        for (_, body) in TARGETS {
            body(&bytes);
        }
    }
}
