//! What tests are made with: bad networks, bad peers, foreign peers, real processes, test data.
//!
//! | module | holds |
//! |---|---|
//! | [`chaos`] | a proxy that cuts, stalls, delays or corrupts a connection at an exact byte |
//! | [`script`] | a peer that sends and expects exact bytes, as a server or as a client |
//! | [`process`] | a server as a process of its own: its address, log lines, signals, exit status |
//! | [`python`] | the document-written Python peers of `tests/peers` |
//! | [`fuzz`] | what must hold for every input from a network |
//! | [`tree`] | deterministic file contents of any size |
//! | [`random`] | the seeded randomness under it all |
//! | [`deadline`] | the bound on every wait |
//!
//! Everything speaks over loopback; only `server.py` listens on all addresses, as its document has
//! it. A set-up that fails, or a wait that passes its deadline, panics and says what was awaited: a
//! test has nothing better to do. What a peer does wrong is a value, for a test to judge.

pub mod chaos;
pub mod deadline;
pub mod fuzz;
pub mod process;
pub mod python;
pub mod random;
pub mod script;
pub mod tree;

/// Says on standard error why a test ends without having tested anything.
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
