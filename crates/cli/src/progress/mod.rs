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
    let logged = Box::new(log::Log::new(name));
    if output.json {
        return vec![logged, Box::new(json::Json::new(url)), Box::new(quiet::Quiet)];
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

/// The watchers of what has no progress to show; `name` is safe to print.
pub(crate) fn messages(output: &OutputArgs, name: &str) -> Vec<Box<dyn Monitor>> {
    let logged = Box::new(log::Log::new(name));
    if output.quiet || output.json {
        return vec![logged, Box::new(quiet::Quiet)];
    }
    vec![logged, Box::new(lines::Lines::new(name))]
}

/// Logs why what is at `url` was not fetched, or the whole command fails, and tells it to programs that read events.
pub(crate) fn tell_failure(failure: &Failure, output: &OutputArgs, url: Option<&str>) {
    tracing::error!("{failure}");
    if output.json {
        let (error, exit) = (failure.to_string(), failure.exit as u8);
        let failed = json!({"event": "failed", "url": url, "error": error, "exit": exit});
        output::event(JsonLine(failed));
    }
}
