//! Files on this machine: opened without ever leaving the served folder, hashed once per version, and
//! received beside their final name.
//!
//! Nothing here knows a wire or a socket.

pub mod beneath;
pub mod digester;
mod folders;
pub mod hash_store;
pub mod hashing;
pub mod local;
pub mod piece_hashes;
pub mod staged;
pub mod syncer;
pub mod version;
