//! Who may do what, as operators and users meet it: the configuration, tokens and passwords, logging in, and what a
//! running server reads again.

mod configuration;
mod idle;
mod logins;
mod records;
mod reloads;
pub(crate) mod support;
mod unreadable;
mod watching;
