//! Sockets: listening, the sniffed-bytes stream, sending files, and closing politely.
//!
//! What bytes mean is `proto`'s concern, what a file is `store`'s.

pub mod close;
pub mod listen;
pub mod peeked;
pub mod send_file;
pub mod socket;
pub mod source;
