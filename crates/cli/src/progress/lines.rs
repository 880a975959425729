//! Plain lines, where there is no terminal to draw on.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use towline_client::monitor::{Event, Monitor};
use towline_proto::milestones::Milestones;

use crate::output;
use crate::trust::Told;

/// Prints a line at every tenth of the way, and at everything that goes wrong.
pub(crate) struct Lines {
    name: String,
    progress: Mutex<Progress>,
}

/// How far a transfer is.
struct Progress {
    received_bytes: u64,
    size: u64,
    milestones: Milestones,
    began: Instant,
}

impl Progress {
    fn of(size: u64) -> Self {
        Self { received_bytes: 0, size, milestones: Milestones::new(size), began: Instant::now() }
    }
}

impl Lines {
    /// Lines about a transfer of `name`, which is safe to print.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), progress: Mutex::new(Progress::of(0)) }
    }

    fn count(&self, bytes: u64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.received_bytes += bytes;
        let received_bytes = progress.received_bytes;
        if let Some(percent) = progress.milestones.reached(received_bytes) {
            output::message(format_args!(
                "{}: {percent} % ({} of {}, {})",
                self.name,
                output::size(received_bytes),
                output::size(progress.size),
                output::rate(received_bytes, progress.began.elapsed()),
            ));
        }
    }
}

impl Monitor for Lines {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Trusted { news } => output::message(Told(news)),
            Event::Started { size, .. } => {
                let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
                *progress = Progress::of(*size);
            }
            Event::Received { bytes } | Event::Kept { bytes } => self.count(*bytes),
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
        write!(f, "{error}; trying again in {wait:?}")?;
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
