//! The server: accept → connection → face → service → store.
//!
//! [`run`] serves until its [`Shutdown`](lifecycle::Shutdown) is asked to drain. Only a face knows a wire,
//! and only the service touches the store.

mod accept;
mod admission;
pub mod config;
mod connection;
mod face;
pub mod lifecycle;
mod service;
mod transfers;

pub use lifecycle::{StartError, run};
