//! The wire in bytes and values: names, caps, digests and codecs, free of sockets, files and clocks.
//!
//! Everything here is a pure function of the bytes it is given, so that every race and every hostile
//! input is a unit test. What the bytes mean is stated in `PROTOCOL.md`, which is normative.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod classic;
pub mod codec;
pub mod digest;
pub mod escape;
pub mod limits;
pub mod milestones;
pub mod name;
pub mod native;
pub mod piece;
pub mod sniff;
