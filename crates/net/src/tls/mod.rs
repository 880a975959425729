//! TLS 1.3, and trust without a public-key infrastructure (SECURITY.md, "Trust").
//!
//! A server has a key of its own; what a client remembers of it is the key's [`Pin`], or that an authority vouched for
//! it. Nothing here switches verification off.

pub mod client;
pub mod client_auth;
mod handshake;
pub mod identity;
pub mod pin;
mod records;
pub mod server;
mod stream;
mod verifier;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::client::TlsError;
pub use self::handshake::Agreed;
pub use self::pin::Pin;
pub use self::stream::{Reader, TlsStream, Writer};
pub use self::verifier::{Expectation, ServerProof, Untrusted};

/// The native protocol's name in TLS (RFC 7301).
pub const ALPN_NATIVE: &[u8] = b"towline/1";

/// The cryptography: TLS 1.3's cipher suites, and a key exchange that also resists quantum computers first.
/// AES with 128 bits comes before 256: it is as far out of reach, and faster.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite, kx_group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    })
}
