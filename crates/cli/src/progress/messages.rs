//! What people are told of a transfer beside how far it is.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use towline_client::monitor::{Event, Monitor};

use crate::acquaintance::Announcement;
use crate::{advice, output};

/// Prints what an event means to a person, if it is more than progress.
pub(super) struct Messages;

impl Monitor for Messages {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Trusted { news } => output::message(Announcement(news)),
            Event::Damaged { bytes } => {
                let size = output::size(*bytes);
                output::message(format_args!("{size} came damaged and are fetched again"));
            }
            &Event::Retrying { error, attempt, wait, discarded_bytes } => {
                output::message(Retry { error, attempt, wait, discarded_bytes });
            }
            _ => {}
        }
    }
}

/// What is said when an attempt failed and another follows.
pub(super) struct Retry<'a> {
    pub(super) error: &'a (dyn Error + 'static),
    pub(super) attempt: u32,
    pub(super) wait: Duration,
    pub(super) discarded_bytes: u64,
}

impl fmt::Display for Retry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, attempt, wait, discarded_bytes } = self;
        write!(f, "{error}; trying again in {}", output::wait(*wait))?;
        if *discarded_bytes > 0 {
            let size = output::size(*discarded_bytes);
            write!(
                f,
                ", from the start (the classic protocol cannot resume; {size} are sent again)"
            )?;
        }
        // Whoever reads it once knows what to look at meanwhile.
        if *attempt == 1 { f.write_str(advice::on(*error)) } else { Ok(()) }
    }
}
