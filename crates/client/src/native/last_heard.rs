//! When anything last arrived from a server. Sessions write it; whoever waits for a place there reads it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When anything came last from a server, over whichever session.
#[derive(Debug, Default)]
pub(super) struct LastHeard(Mutex<Option<Instant>>);

impl LastHeard {
    /// Something has come just now.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether something came within this time.
    pub(super) fn is_within(&self, time: Duration) -> bool {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() < time)
    }
}
