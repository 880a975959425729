//! What people, logs and programs see of a transfer: one watcher each.

mod bar;
mod how_far;
mod json;
mod line;
mod lines;
mod log;
mod state;
mod terminal;

use std::io::IsTerminal;

use serde_json::json;
use towline_client::monitor::Monitor;

use crate::args::OutputArgs;
use crate::exit::Failure;
use crate::output;

pub(crate) use self::bar::{Bar, hashing_bar};
pub(crate) use self::how_far::HowFar;
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

/// Logs why a command fails, and tells it to programs that read events.
pub(crate) fn tell_failure(failure: &Failure, output: &OutputArgs) {
    tracing::error!("{failure}");
    if output.json {
        let (error, exit) = (failure.to_string(), failure.exit as u8);
        output::event(json!({"event": "failed", "error": error, "exit": exit}));
    }
}
