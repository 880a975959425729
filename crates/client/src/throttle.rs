//! A cap on bytes per second, shared by all connections of a transfer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How far a transfer that was slower may catch up.
const BURST: Duration = Duration::from_millis(50);

/// Fewest bytes read at once, however low the rate.
const READ_BYTES_MIN: usize = 4 * 1_024;

/// When bytes may go through: pure, the clock is the caller's.
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

    /// Takes note that `bytes` went through at `now`, and tells how long to wait before more do.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.paid_until = self.paid_until.max(now.saturating_sub(BURST)).saturating_add(cost);
        self.paid_until.saturating_sub(now)
    }
}

/// A throttle, or none, that many tasks share.
#[derive(Debug)]
pub(crate) struct SharedThrottle {
    began: Instant,
    throttle: Option<Mutex<Throttle>>,
}

impl SharedThrottle {
    pub(crate) fn new(bytes_per_s: Option<u64>) -> Self {
        let throttle = bytes_per_s.map(|bytes_per_s| Mutex::new(Throttle::new(bytes_per_s)));
        Self { began: Instant::now(), throttle }
    }

    /// Bytes to read at once: a tenth of a second's at a low rate, so that the peer sees them being taken.
    pub(crate) fn read_bytes_max(&self) -> usize {
        let Some(throttle) = &self.throttle else { return usize::MAX };
        let bytes_per_s = throttle.lock().unwrap_or_else(PoisonError::into_inner).bytes_per_s;
        usize::try_from(bytes_per_s / 10).unwrap_or(usize::MAX).max(READ_BYTES_MIN)
    }

    /// Takes note that bytes came, and waits until more may.
    pub(crate) async fn take(&self, bytes: u64) {
        let Some(throttle) = &self.throttle else { return };
        let now = self.began.elapsed();
        let wait = throttle.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, now);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Throttle;

    /// Moves chunks for ten seconds, as fast as the throttle lets it, and pauses once.
    fn moved_in_ten_seconds(bytes_per_s: u64, chunk: u64, pause: Duration) -> u64 {
        let mut throttle = Throttle::new(bytes_per_s);
        let (mut now, mut moved) = (Duration::ZERO, 0);
        while now < Duration::from_secs(10) {
            moved += chunk;
            now += throttle.take(chunk, now);
            if moved == 3 * chunk {
                now += pause;
            }
        }
        moved
    }

    #[test]
    fn the_rate_is_exact_within_a_chunk_and_a_burst() {
        for (rate, chunk) in [(1_000_000, 1_000), (50_000_000, 1 << 20), (1_000, 1), (7, 1)] {
            let moved = moved_in_ten_seconds(rate, chunk, Duration::ZERO);
            assert!(moved.abs_diff(10 * rate) <= chunk + rate / 20, "{rate}: {moved}");
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let moved = moved_in_ten_seconds(1_000_000, 1_000, Duration::from_secs(5));
        assert!(moved <= 5_100_000, "{moved}");
    }
}
