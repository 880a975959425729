//! `towline get` through the real binary: what it is asked for, what it meets, what it leaves.

mod arguments;
mod changes;
mod connections;
mod damage;
mod faults;
mod holes;
mod interruptions;
mod leftovers;
mod sizes;
mod support;
mod trust;
