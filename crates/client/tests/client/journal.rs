//! Journals that a fuzzer or an accident makes.

use std::path::Path;

use towline_client::journal::decode;

use crate::journal_body::journal;

#[test]
fn every_seed_of_a_journal_passes() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/journal");
    let mut pieces = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        journal(&bytes);
        pieces += decode(&bytes[..]).unwrap().map_or(0, |journal| journal.pieces.count());
    }
    assert!(pieces > 0, "a seed that is read");
}
