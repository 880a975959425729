//! A server as operators run it: with few rights, confined, and under a service manager.

mod confinement;
mod manager;
mod packaging;
mod support;
mod user;
