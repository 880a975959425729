//! What must hold for every input from a network: a function per fuzz target, which panics where it does
//! not.
//!
//! `fuzz/` runs them on inputs that a fuzzer finds; `tests/fuzz.rs` on that folder's seeds and on drawn
//! inputs, so that no fuzzer is needed to notice what breaks.

mod classic;
mod name;
mod native;
mod pieces;
mod sniff;

pub use self::classic::{classic_reply, classic_request};
pub use self::name::name;
pub use self::native::{native_answer, native_frame, native_preface, native_request};
pub use self::pieces::pieces;
pub use self::sniff::sniff;

/// The body of a fuzz target.
pub type Body = fn(&[u8]);

/// Every target, under the name that its binary and its corpus have in `fuzz/`.
pub const TARGETS: [(&str, Body); 9] = [
    ("sniff", sniff),
    ("name", name),
    ("classic_request", classic_request),
    ("classic_reply", classic_reply),
    ("native_preface", native_preface),
    ("native_frame", native_frame),
    ("native_request", native_request),
    ("native_answer", native_answer),
    ("pieces", pieces),
];

/// Whether text can be printed: nothing in it moves a cursor, starts a line or turns the text around.
fn is_printable(text: &str) -> bool {
    !text.chars().any(|character| {
        character.is_control()
            || matches!(character, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    })
}
