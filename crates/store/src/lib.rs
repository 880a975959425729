//! Files on this machine: opened without ever leaving the served folder, listed and read many at once, hashed
//! once per version, and received beside their final name.
//!
//! Nothing here knows a wire or a socket.

pub mod beneath;
pub mod digester;
pub mod filter;
mod folders;
pub mod hash_store;
pub mod hashing;
pub mod local;
mod own;
pub mod piece_hashes;
pub mod private_file;
mod seen;
pub mod small_files;
pub mod staged;
pub mod syncer;
pub mod tree;
pub mod version;
pub mod walk;
