//! A cap on bytes per second, shared by all connections of a transfer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::time::sleep;
use towline_net::throttle::Throttle;

/// Fewest bytes read at once, however low the rate.
const READ_BYTES_MIN: usize = 4 * 1_024;

/// A throttle, or none, that many tasks and transfers share.
#[derive(Clone, Debug)]
pub struct SharedThrottle {
    began: Instant,
    throttle: Option<Arc<Mutex<Throttle>>>,
}

impl SharedThrottle {
    /// Lets so many bytes per second through, or all.
    pub fn new(bytes_per_s: Option<u64>) -> Self {
        let shared = |bytes_per_s| Arc::new(Mutex::new(Throttle::new(bytes_per_s)));
        let throttle = bytes_per_s.map(shared);
        Self { began: Instant::now(), throttle }
    }

    /// Bytes to read at once: a tenth of a second's at a low rate, so that the peer sees them being taken.
    pub(crate) fn read_bytes_max(&self) -> usize {
        let Some(throttle) = &self.throttle else { return usize::MAX };
        let bytes_per_s = throttle.lock().unwrap_or_else(PoisonError::into_inner).rate();
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

    use towline_testkit::random::Random;

    use super::Throttle;

    /// How long each of these simulated transfers takes.
    const TEN_SECONDS: Duration = Duration::from_secs(10);

    /// Moves chunks for ten seconds over some connections, as fast as the throttle lets them; each goes on after its
    /// wait as late as `lateness` tells.
    fn moved(
        bytes_per_s: u64,
        chunk: u64,
        connections: usize,
        mut lateness: impl FnMut(Duration) -> Duration,
    ) -> u64 {
        let mut throttle = Throttle::new(bytes_per_s);
        let mut awake_at = vec![Duration::ZERO; connections];
        let mut moved = 0;
        loop {
            let next = awake_at.iter_mut().min().expect("there is a connection");
            if *next >= TEN_SECONDS {
                return moved;
            }
            moved += chunk;
            let wait = throttle.take(chunk, *next);
            *next += wait + lateness(wait);
        }
    }

    #[test]
    fn the_rate_is_exact_within_a_chunk_per_connection() {
        for (rate, chunk) in [(1_000_000, 1_000), (50_000_000, 1 << 20), (1_000, 1), (7, 1)] {
            for connections in [1, 2, 8] {
                let moved = moved(rate, chunk, connections, |_| Duration::ZERO);
                let exact = moved.abs_diff(10 * rate) <= chunk * connections as u64;
                assert!(exact, "{rate} over {connections}: {moved}");
            }
        }
    }

    /// A wait ends some milliseconds late, and one chunk in a hundred waits for a busy processor or disk.
    fn late(wait: Duration, random: &mut Random) -> Duration {
        let oversleep_us = if wait.is_zero() { 0 } else { random.below(5_000) };
        let stall_ms = if random.below(100) == 0 { random.below(150) } else { 0 };
        Duration::from_micros(oversleep_us) + Duration::from_millis(stall_ms)
    }

    #[test]
    fn waking_late_costs_less_than_a_hundredth_of_the_rate() {
        for (rate, chunk) in [(10 << 20, 1 << 20), (100 << 20, 1 << 20), (1 << 20, 64 << 10)] {
            for connections in [1, 2, 8] {
                let mut random = Random::from_seed(rate);
                let moved = moved(rate, chunk, connections, |wait| late(wait, &mut random));
                let told = format!("{rate} over {connections}: {moved}");
                assert!(moved >= 10 * rate - rate / 10, "{told}");
                assert!(moved <= 10 * rate + rate / 10 + chunk * connections as u64, "{told}");
            }
        }
    }

    #[test]
    fn a_pause_is_made_up_for_by_no_more_than_a_burst() {
        let mut pause = Some(Duration::from_secs(5));
        let moved = moved(1_000_000, 1_000, 1, |_| pause.take().unwrap_or_default());
        assert!((4_990_000..=5_202_000).contains(&moved), "{moved}");
    }
}
