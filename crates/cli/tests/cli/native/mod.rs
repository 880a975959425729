//! `towline get` through the real binary: what it is asked for, what it meets, what it leaves.

mod arguments;
mod changes;
mod connections;
mod damage;
mod disk;
mod events;
mod faults;
mod handover;
mod holes;
mod interruptions;
mod kills;
mod leftovers;
#[cfg(target_os = "linux")]
mod long_link;
mod mistakes;
mod mounted;
mod power;
mod shared_folders;
mod sizes;
mod support;
mod terminal;
mod trees;
pub(crate) mod trust;
