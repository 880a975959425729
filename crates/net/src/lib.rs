//! Connections: listening, the sniffed-bytes stream, TLS, sending files, and closing politely.
//!
//! What bytes mean is `proto`'s concern, what a file is `store`'s.

pub mod close;
pub mod listen;
pub mod peeked;
pub mod send_file;
pub mod socket;
pub mod source;
pub mod stream;
pub mod throttle;
pub mod tls;
