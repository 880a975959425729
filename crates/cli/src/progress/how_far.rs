//! How far a transfer was when it ended before its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::anyhow;
use towline_client::monitor::{Event, Monitor};

use super::state::Progress;
use crate::exit::{Exit, Failure};

/// Watches a transfer that can go on where it ended.
#[derive(Clone, Default)]
pub(crate) struct HowFar(Arc<Mutex<Progress>>);

impl HowFar {
    /// What is said when a signal ends the transfer.
    pub(crate) fn interrupted(&self) -> Failure {
        let advice = match self.told() {
            Some(done) => {
                format!("interrupted after {done}; run the same command again to go on from here")
            }
            None => "interrupted; run the same command again".into(),
        };
        Failure::new(Exit::Interrupted, anyhow!(advice))
    }

    /// The same failure, with what is here where the same command can go on from it.
    pub(crate) fn add_to(&self, failure: Failure) -> Failure {
        let can_go_on = matches!(failure.exit, Exit::Network | Exit::LocalDisk);
        match self.told().filter(|_| can_go_on) {
            Some(done) => {
                let advice = format!("{done} had come; the same command goes on from there");
                Failure::new(failure.exit, anyhow!("{failure}; {advice}"))
            }
            None => failure,
        }
    }

    /// Nothing where nothing came.
    fn told(&self) -> Option<String> {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (progress.done_bytes() > 0).then(|| progress.to_string())
    }
}

impl Monitor for HowFar {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(event, Instant::now());
    }
}
