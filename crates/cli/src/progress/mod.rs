//! What people, logs and programs see of a transfer: one watcher each.

mod bar;
mod json;
mod lines;
mod log;

use std::io::IsTerminal;

use towline_client::monitor::Monitor;

use crate::args::OutputArgs;

pub(crate) use self::bar::{Bar, transfer_style};
pub(crate) use self::json::EVENTS;

/// The watchers of a transfer of `name`, as the user asked for them.
pub(crate) fn watchers(output: &OutputArgs, name: &str) -> Vec<Box<dyn Monitor>> {
    let shown: Option<Box<dyn Monitor>> = if output.json {
        Some(Box::new(json::Json::default()))
    } else if output.quiet {
        None
    } else if std::io::stderr().is_terminal() {
        Some(Box::new(Bar::new(name)))
    } else {
        Some(Box::new(lines::Lines::new(name)))
    };
    let logged: Box<dyn Monitor> = Box::new(log::Log::new(name));
    std::iter::once(logged).chain(shown).collect()
}
