//! Plain lines, where there is no terminal to draw on.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use towline_client::monitor::{Event, Monitor};

use super::state::Tenths;
use crate::output;
use crate::trust::Announcement;

/// Prints a line at every tenth of the way, and at everything that goes wrong.
pub(crate) struct Lines {
    name: String,
    tenths: Mutex<Tenths>,
}

impl Lines {
    /// Lines about a transfer of `name`, which is safe to print.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), tenths: Mutex::new(Tenths::new()) }
    }

    fn note(&self, event: &Event<'_>) {
        let now = Instant::now();
        let mut tenths = self.tenths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(percent) = tenths.note(event, now) {
            let facts = tenths.progress.facts(now).join(", ");
            output::message(format_args!("{}: {percent} % ({facts})", self.name));
        }
    }
}

impl Monitor for Lines {
    fn on_event(&self, event: &Event<'_>) {
        self.note(event);
        match event {
            Event::Trusted { news } => output::message(Announcement(news)),
            Event::Damaged { bytes } => {
                let size = output::size(*bytes);
                output::message(format_args!("{size} came damaged and are fetched again"));
            }
            Event::Retrying { error, wait, discarded_bytes, .. } => {
                output::message(Retry { error, wait: *wait, discarded_bytes: *discarded_bytes });
            }
            _ => {}
        }
    }
}

/// What is said when an attempt failed and another follows.
pub(crate) struct Retry<'a> {
    pub(crate) error: &'a dyn std::error::Error,
    pub(crate) wait: Duration,
    pub(crate) discarded_bytes: u64,
}

impl fmt::Display for Retry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, wait, discarded_bytes } = self;
        write!(f, "{error}; trying again in {}", output::wait(*wait))?;
        if *discarded_bytes > 0 {
            let size = output::size(*discarded_bytes);
            write!(
                f,
                ", from the start (the classic protocol cannot resume; {size} are sent again)"
            )?;
        }
        Ok(())
    }
}
