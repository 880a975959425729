//! The native protocol: preface, frames, messages (PROTOCOL.md, "The native protocol").

pub mod frame;
pub mod message;
pub mod preface;
mod wire;
