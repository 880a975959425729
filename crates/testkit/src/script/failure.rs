//! Why a script was not carried out, said so that the bytes can be compared by eye.

use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use thiserror::Error;

/// The bytes of one row of a [`Difference`], of which some lie before the first that differs.
const ROW_BYTES: usize = 16;
const ROW_BEFORE_BYTES: usize = 4;

/// A script that was not carried out: where, why, and what had come until then.
#[derive(Debug, Error)]
#[error("connection {connection}, step {step} ({doing}): {failure}")]
pub struct ScriptError {
    /// The connection, in the order of acceptance; the first is 0.
    pub connection: usize,
    /// The step, counted from 1; 0 is connecting.
    pub step: usize,
    /// The step in words.
    pub doing: String,
    /// What went wrong.
    #[source]
    pub failure: Failure,
    /// All bytes that had come on this connection.
    pub received: Vec<u8>,
}

/// What went wrong in a step.
#[derive(Debug, Error)]
pub enum Failure {
    /// Other bytes came than those expected.
    #[error("{0}")]
    Differs(Box<Difference>),
    /// The peer closed in order, too early.
    #[error("closed after {got_bytes} of {wanted_bytes} bytes")]
    Ended {
        /// The bytes that came in this step.
        got_bytes: usize,
        /// The bytes that the step waits for.
        wanted_bytes: usize,
    },
    /// The step was not done in time.
    #[error("not done after {0:?}")]
    Late(Duration),
    /// The peer sent more than a script keeps.
    #[error("over {0} bytes came")]
    TooMuch(usize),
    /// The peer took this much of an endless stream without closing.
    #[error("{0} bytes were taken and the connection is still open")]
    StillOpen(u64),
    /// The connection failed; a reset by the peer is `ConnectionReset` or `BrokenPipe`.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The first place where received bytes differ from those expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    at_byte: usize,
    from_byte: usize,
    expected: Vec<u8>,
    received: Vec<u8>,
    expected_bytes: usize,
}

impl Difference {
    /// The difference between `expected` and as much of it as has been `received`, if there is one.
    pub(super) fn between(expected: &[u8], received: &[u8]) -> Option<Self> {
        let at_byte = expected.iter().zip(received).position(|(left, right)| left != right)?;
        let from_byte = at_byte.saturating_sub(ROW_BEFORE_BYTES);
        let row = |bytes: &[u8]| bytes[from_byte..].iter().copied().take(ROW_BYTES).collect();
        Some(Self {
            at_byte,
            from_byte,
            expected: row(expected),
            received: row(received),
            expected_bytes: expected.len(),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_byte, from_byte, expected_bytes, .. } = self;
        writeln!(out, "byte {at_byte} of {expected_bytes} differs; from byte {from_byte} on:")?;
        writeln!(out, "  expected {}", row(&self.expected))?;
        write!(out, "  received {}", row(&self.received))
    }
}

fn row(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x} ").expect("a string takes every write");
    }
    let padding = 3 * (ROW_BYTES - bytes.len());
    format!("{text}{:padding$} {}", "", bytes.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_both_sides_around_it() {
        let difference = Difference::between(b"\0\0\0\x05hello world", b"\0\0\0\x05hellO").unwrap();
        let text = difference.to_string();
        let expected = "byte 8 of 15 differs; from byte 4 on:\n  \
            expected 68 65 6c 6c 6f 20 77 6f 72 6c 64                 hello world\n  \
            received 68 65 6c 6c 4f                                   hellO";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_prefix_does_not_differ() {
        assert_eq!(Difference::between(b"hello", b""), None);
        assert_eq!(Difference::between(b"hello", b"hel"), None);
        assert_eq!(Difference::between(b"hello", b"hello"), None);
    }
}
