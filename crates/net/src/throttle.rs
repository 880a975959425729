//! A cap on bytes per second. Pure: the clock is the caller's.

use std::time::Duration;

/// How far a transfer that was slower may catch up. What a task oversleeps, waits for a processor or for the disk
/// is made up for within this, and nothing beyond it: over 10 s, the rate is exceeded by no more than 2 %.
const BURST: Duration = Duration::from_millis(200);

/// When bytes may go through.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    bytes_per_s: u64,
    /// When all that went through so far is paid for.
    paid_until: Duration,
}

impl Throttle {
    /// Lets `bytes_per_s` through; at least one.
    pub fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), paid_until: Duration::ZERO }
    }

    /// Bytes per second.
    pub fn rate(&self) -> u64 {
        self.bytes_per_s
    }

    /// How long to wait before more go through.
    pub fn wait(&self, now: Duration) -> Duration {
        self.paid_until.saturating_sub(now)
    }

    /// Takes note that `bytes` went through at `now`, and tells how long to wait before more do.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.paid_until = self.paid_until.max(now.saturating_sub(BURST)).saturating_add(cost);
        self.wait(now)
    }
}
