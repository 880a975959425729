//! What people, logs and programs see of a transfer: one watcher each.

mod bar;
mod dry_run;
mod how_far;
mod json;
mod line;
mod lines;
mod log;
mod messages;
mod quiet;
mod state;
mod terminal;

use std::fmt::Display;
use std::io::IsTerminal;

use serde_json::json;
use towline_client::monitor::Monitor;

use crate::args::OutputArgs;
use crate::exit::Failure;
use crate::output::{self, JsonLine};

pub(crate) use self::bar::{Bar, hashing_bar};
pub(crate) use self::dry_run::DryRun;
pub(crate) use self::how_far::HowFar;
pub(crate) use self::json::{EVENTS, print as print_json, with_path};

/// The watchers of a transfer, as the user asked for them: of `name`, which is safe to print, from `url`.
pub(crate) fn watchers(output: &OutputArgs, name: &str, url: &str) -> Vec<Box<dyn Monitor>> {
    let mut watchers = messages(output, name);
    if output.json {
        watchers.push(Box::new(json::Json::new(url)));
    } else if !output.quiet && std::io::stderr().is_terminal() {
        watchers.push(Box::new(Bar::new(name)));
    } else if !output.quiet && !output.is_logged() {
        watchers.push(Box::new(lines::Lines::new(name)));
    }
    watchers
}

/// The watchers of what has no progress to show; `name` is safe to print.
pub(crate) fn messages(output: &OutputArgs, name: &str) -> Vec<Box<dyn Monitor>> {
    let mut watchers: Vec<Box<dyn Monitor>> = vec![Box::new(log::Log::new(name))];
    if output.is_logged() {
        // The log says it all.
    } else if output.quiet || output.json {
        watchers.push(Box::new(quiet::Quiet));
    } else {
        watchers.push(Box::new(messages::Messages));
    }
    watchers
}

/// Logs why what is at the URL was not fetched, or the whole command fails where it has several, and tells it to programs
/// that read events.
pub(crate) fn tell_failure<U: Display>(failure: &Failure, output: &OutputArgs, urls: &[U]) {
    tracing::error!("{failure}");
    if output.json {
        let url = if let [url] = urls { Some(url.to_string()) } else { None };
        let (error, exit) = (failure.to_string(), failure.exit as u8);
        let failed = json!({"event": "failed", "url": url, "error": error, "exit": exit});
        output::event(JsonLine(failed));
    }
}
