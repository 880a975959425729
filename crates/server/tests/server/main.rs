//! The server's promises, each driven through `towline_server::run` over loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make the files that are served, and may fail anywhere"
)]

mod access;
mod changes;
mod confinement;
mod exhaustion;
mod native;
mod one_port;
mod parsing;
mod shutdown;
mod support;
mod tls;
