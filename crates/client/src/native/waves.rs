//! One word about connections that are lost together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::monitor::{Event, Monitor};

/// Tells of connections that are lost together once: when a server goes away, all of a transfer's are.
pub(super) struct OncePerWave<'a> {
    monitor: &'a dyn Monitor,
    told: Mutex<Option<Wave>>,
}

/// Connections that are lost until one of them may be back.
#[derive(Clone, Copy, Debug)]
struct Wave {
    /// How often in a row the reported connection had failed.
    attempt: u32,
    /// When the last of them tries again.
    until: Instant,
}

impl<'a> OncePerWave<'a> {
    pub(super) fn new(monitor: &'a dyn Monitor) -> Self {
        Self { monitor, told: Mutex::new(None) }
    }
}

impl Monitor for OncePerWave<'_> {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::Retrying { attempt, wait, .. } = event {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if !begins_wave(&mut told, *attempt, *wait, Instant::now()) {
                return;
            }
        }
        self.monitor.on_event(event);
    }
}

/// Whether this failure is worth reporting: the first of a wave, or one more in a row.
fn begins_wave(told: &mut Option<Wave>, attempt: u32, wait: Duration, now: Instant) -> bool {
    if let Some(wave) = told
        && now < wave.until
        && attempt <= wave.attempt
    {
        // Not all notice at the same time: each first takes what had arrived.
        wave.until = wave.until.max(now + wait);
        return false;
    }
    *told = Some(Wave { attempt, until: now + wait });
    true
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::begins_wave;

    #[test]
    fn connections_that_are_lost_together_are_told_once_for_each_time_that_they_fail() {
        let began = Instant::now();
        let mut told = None;
        let mut is_told = |at_ms, attempt, wait_ms| {
            let [at, wait] = [at_ms, wait_ms].map(Duration::from_millis);
            begins_wave(&mut told, attempt, wait, began + at)
        };
        assert!(is_told(0, 1, 700));
        assert!(!is_told(5, 1, 900) && !is_told(9, 1, 500));
        assert!(is_told(509, 2, 1_500), "the first that fails again");
        assert!(!is_told(700, 2, 1_900) && !is_told(905, 2, 1_100));
        assert!(!is_told(1_000, 1, 800), "one that had come on and is lost again");
        assert!(!is_told(2_100, 1, 600), "one that had not noticed yet");
        assert!(is_told(2_800, 1, 600), "a later loss is another wave");
    }
}
