//! The client: brings files home whole, whatever the network does.
//!
//! Results return as values, progress goes to a [`Monitor`](monitor::Monitor). Nothing here prints.

mod blocking;
pub mod classic;
pub mod connect;
pub mod journal;
mod known_hashes;
pub mod monitor;
pub mod native;
mod plan;
pub mod retry;
pub mod throttle;
pub mod trust;
