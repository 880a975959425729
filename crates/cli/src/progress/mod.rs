//! What people, logs and programs see of a transfer: one watcher each.

mod bar;
mod how_far;
mod json;
mod line;
mod lines;
mod log;
mod quiet;
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
    let logged = Box::new(log::Log::new(name));
    if output.json {
        return vec![logged, Box::new(json::Json::default()), Box::new(quiet::Quiet)];
    }
    let shown: Box<dyn Monitor> = if output.quiet {
        Box::new(quiet::Quiet)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bar::new(name))
    } else {
        Box::new(lines::Lines::new(name))
    };
    vec![logged, shown]
}

/// Logs why a command fails, and tells it to programs that read events.
pub(crate) fn tell_failure(failure: &Failure, output: &OutputArgs) {
    tracing::error!("{failure}");
    if output.json {
        let (error, exit) = (failure.to_string(), failure.exit as u8);
        output::event(json!({"event": "failed", "error": error, "exit": exit}));
    }
}
