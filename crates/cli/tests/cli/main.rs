//! The promises of the `towline` command, kept by the real binary.

// A test's helpers fail its test, as the test itself does.
#![allow(clippy::unwrap_used)]

mod access;
mod classic_commands;
mod crash;
mod demo;
mod durability;
mod hash;
mod interop;
mod local_faults;
mod native;
mod network_faults;
mod operation;
mod protocol;
mod shutdown;
mod support;
