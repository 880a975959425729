//! Records of TLS 1.3 (RFC 8446, section 5) once hands are shaken: sealed and opened here, in few large buffers, so that
//! no byte of a file is copied on its way through this process but by encryption itself.
//!
//! The TLS library shakes hands, derives all keys, and keeps tickets ([`Link`]). Ciphers are the library's own, too.

mod key;
mod link;
mod opening;
mod sealing;

pub(super) use self::key::{RecordKey, record_bytes};
pub(super) use self::link::{Link, Side};
pub(super) use self::opening::Opening;
pub(super) use self::sealing::Sealing;

/// Most bytes of plaintext in a record.
pub(super) const PLAIN_BYTES_MAX: usize = 1 << 14;

/// What stands before a record's ciphertext: its type, a version, a length.
pub(super) const HEADER_BYTES: usize = 5;

/// What stands behind its plaintext, encrypted with it: its true type.
const TYPE_BYTES: usize = 1;

/// What proves that it was not damaged; every cipher's has this length.
const TAG_BYTES: usize = 16;

/// What stands before and behind the plaintext in a record of ours.
const AROUND_BYTES: usize = HEADER_BYTES + TYPE_BYTES + TAG_BYTES;

/// Most bytes behind the header of a record: a peer may pad.
const SEALED_BYTES_MAX: usize = PLAIN_BYTES_MAX + 256;
