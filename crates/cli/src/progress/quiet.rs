//! What is said even to those who asked for nothing but errors.

use towline_client::monitor::{Event, Monitor};

use crate::acquaintance::Announcement;
use crate::output;

/// Prints what a person must hear.
pub(super) struct Quiet;

impl Monitor for Quiet {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::Trusted { news } = event {
            let told = Announcement(news);
            if told.is_grave() {
                output::message(told);
            }
        }
    }
}
