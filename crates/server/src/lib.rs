//! The server: accept → connection → face → service → store.
//!
//! [`run`] serves until its [`Shutdown`] is asked to drain. Only a face knows a wire,
//! and only the service, with what it opens, touches the store.

mod accept;
mod admission;
pub mod auth;
mod budgets;
pub mod config;
mod connection;
mod face;
mod handshakes;
mod lifecycle;
mod listing;
mod metrics;
mod per_source;
mod pieced_file;
pub mod policy;
mod pulse;
pub mod rates;
pub mod records;
mod server;
mod service;
mod session;
mod shares;
mod shutdown;
mod transfers;
mod watch;

pub use lifecycle::{Handle, run};
pub use server::StartError;
pub use shutdown::Shutdown;
