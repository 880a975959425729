//! The native face: what a peer may send, what it gets, and what it cannot reach.

mod confinement;
mod deadlines;
mod parsing;
mod requests;
pub(crate) mod support;
mod trees;
