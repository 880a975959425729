//! Plain lines, where there is no terminal to draw on.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use towline_client::monitor::{Event, Monitor};

use super::state::Tenths;
use crate::output;

/// Prints a line at every tenth of the way.
pub(crate) struct Lines {
    name: String,
    tenths: Mutex<Tenths>,
}

impl Lines {
    /// Lines about a transfer of `name`, which is safe to print.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), tenths: Mutex::new(Tenths::new()) }
    }
}

impl Monitor for Lines {
    fn on_event(&self, event: &Event<'_>) {
        let now = Instant::now();
        let mut tenths = self.tenths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(percent) = tenths.note(event, now) {
            let facts = tenths.progress.facts(now).join(", ");
            output::message(format_args!("{}: {percent} % ({facts})", self.name));
        }
    }
}
