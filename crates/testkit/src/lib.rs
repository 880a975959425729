//! What tests are made with: bad networks, bad peers, foreign peers, real processes, test data.
//!
//! | module | holds |
//! |---|---|
//! | [`authority`] | an authority, and the certificates that it gives to servers and clients |
//! | [`chaos`] | a proxy that cuts, stalls, delays or corrupts a connection at an exact byte |
//! | `link` | a long, lossy link of packets between two network namespaces (Linux, root) |
//! | [`script`] | a peer that sends and expects exact bytes, as a server or as a client |
//! | [`port`] | a port that is kept for a server which comes later, or never |
//! | [`process`] | a server as a process of its own: its address, log lines, signals, exit status |
//! | [`python`] | the Python peers of `tests/peers`, written from the classic system's description |
//! | [`fuzz`] | what must hold for every input from a network |
//! | [`tree`] | deterministic file contents of any size |
//! | [`random`] | the seeded randomness under it all |
//! | [`deadline`] | the bound on every wait |
//!
//! Everything but `link` speaks over loopback; only `server.py` listens on all addresses, as the classic system's
//! description says. A set-up that fails, or a wait that passes its deadline, panics and says what was awaited: a test
//! has nothing better to do. What a peer does wrong is a value, for a test to judge.

pub mod authority;
pub mod chaos;
pub mod deadline;
pub mod fuzz;
#[cfg(target_os = "linux")]
pub mod link;
pub mod port;
pub mod process;
pub mod python;
pub mod random;
pub mod script;
pub mod tree;

/// Ends a test that lacks what `reason` names: says so where that may be, and fails where everything
/// must be tested, whatever it takes (`TOWLINE_FULL=1`).
///
/// # Panics
/// In the full checks.
pub fn lacking(reason: &str) {
    let is_full = std::env::var_os("TOWLINE_FULL").is_some_and(|value| value == "1");
    assert!(!is_full, "the full checks lack something: {reason}");
    skip(reason);
}

/// Says on standard error why a test ends without having tested anything.
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
