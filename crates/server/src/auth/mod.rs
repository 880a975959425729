//! Who somebody is: users, what they prove it with, and how often that may go wrong.
//!
//! A login is kept as what was proved, not as the rights that followed from it: those are looked up again with each
//! request, so that what is revoked ends also in sessions that are open.

mod access;
pub mod credentials;
mod gate;
mod login_queues;
pub mod password;
mod password_cache;
mod penalty;
mod terms;
pub mod token;

pub use self::access::{Access, User};
pub(crate) use self::gate::{Caller, Denied, Gate, Login, LoginRefused, Revoked};
pub(crate) use self::terms::Terms;
