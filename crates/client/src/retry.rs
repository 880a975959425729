//! When to try again: pure, the clock is the caller's.

use std::iter::successors;
use std::time::Duration;

/// Exponential backoff: each wait is twice the one before, up to a longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the first retry.
    pub initial: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// How many times to try again after the first attempt.
    pub retries: u32,
}

impl Backoff {
    /// The waits, one per retry.
    pub fn waits(&self) -> impl Iterator<Item = Duration> + use<> {
        let Self { initial, max, retries } = *self;
        successors(Some(initial.min(max)), move |wait| Some(wait.saturating_mul(2).min(max)))
            .take(retries as usize)
    }
}

/// Spreads waits, so that many who failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// Draws from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A wait between half of `wait` and all of it.
    pub fn apply(&mut self, wait: Duration) -> Duration {
        // SplitMix64 (Steele, Lea and Flood, 2014): good enough to spread.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut drawn = self.state;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = u32::try_from((drawn ^ (drawn >> 31)) >> 54).unwrap_or_default();
        wait / 2 + (wait / 2).saturating_mul(share) / 1_024
    }
}

/// The classic system's waits: 1, 2, 4, 8, 16 and 32 s, so that a server started within 63 s is found.
impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(32), retries: 6 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Jitter};
    use std::time::Duration;

    #[test]
    fn the_default_waits_are_the_documents_63_seconds() {
        let waits: Vec<_> = Backoff::default().waits().map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32]);
        assert_eq!(waits.iter().sum::<u64>(), 63);
    }

    #[test]
    fn waits_stop_growing_at_the_longest_and_never_overflow() {
        let backoff =
            Backoff { initial: Duration::from_secs(5), max: Duration::from_secs(7), retries: 3 };
        assert_eq!(backoff.waits().map(|wait| wait.as_secs()).collect::<Vec<_>>(), [5, 7, 7]);
        let backoff = Backoff { initial: Duration::MAX, max: Duration::MAX, retries: 2 };
        assert_eq!(backoff.waits().count(), 2);
        let none = Backoff { retries: 0, ..Backoff::default() };
        assert_eq!(none.waits().count(), 0);
    }

    #[test]
    fn jitter_keeps_between_half_the_wait_and_all_of_it_and_varies() {
        let mut jitter = Jitter::new(1);
        let wait = Duration::from_secs(8);
        let drawn: Vec<_> = (0..1_000).map(|_| jitter.apply(wait)).collect();
        assert!(drawn.iter().all(|drawn| (wait / 2..=wait).contains(drawn)));
        assert!(drawn.iter().min().unwrap() < &(wait * 9 / 16));
        assert!(drawn.iter().max().unwrap() > &(wait * 15 / 16));
    }
}
