//! What a dry run finds.

use towline_client::monitor::{Event, Monitor};

use crate::output;

/// Prints each file that would be fetched.
pub(crate) struct DryRun;

impl Monitor for DryRun {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::WouldFetch { path, size } = event {
            output::event(format_args!("{path} ({})", output::size(*size)));
        }
    }
}
