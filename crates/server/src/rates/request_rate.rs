//! How often a source may ask for something.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use towline_net::source::Source;
use towline_net::throttle::Throttle;

/// Sources are looked through for ones to forget whenever there are this many more.
const SOURCES_MORE: usize = 1_024;

/// Counts requests by source; who asks too often is answered later.
#[derive(Debug)]
pub(crate) struct RequestRate {
    began: Instant,
    sources: Mutex<Sources>,
}

#[derive(Debug)]
struct Sources {
    per_s: u64,
    throttles: HashMap<Source, Throttle>,
    looked_through_at: usize,
}

impl RequestRate {
    pub(crate) fn new(per_s: u64) -> Self {
        let sources = Mutex::new(Sources::new(per_s));
        Self { began: Instant::now(), sources }
    }

    /// From now on so many may come in a second.
    pub(crate) fn replace(&self, per_s: u64) {
        let mut sources = self.sources();
        if sources.per_s != per_s {
            *sources = Sources::new(per_s);
        }
    }

    /// Takes note of a request, and waits until it may be answered; tells how long.
    pub(crate) async fn admit(&self, source: Source) -> Duration {
        let wait = self.sources().take(source, self.began.elapsed());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        wait
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    fn new(per_s: u64) -> Self {
        Self { per_s, throttles: HashMap::new(), looked_through_at: 0 }
    }

    fn take(&mut self, source: Source, now: Duration) -> Duration {
        if self.throttles.len() >= self.looked_through_at + SOURCES_MORE {
            self.throttles.retain(|_, throttle| !throttle.wait(now).is_zero());
            self.looked_through_at = self.throttles.len();
        }
        let new = || Throttle::new(self.per_s);
        // A throttle counts bytes; a request is one.
        self.throttles.entry(source).or_insert_with(new).take(1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_owe_nothing_are_forgotten() {
        let requests = RequestRate::new(u64::MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            runtime.block_on(requests.admit(Source::of(([10, 0, high, low], 1).into())));
        }
        assert!(requests.sources.lock().unwrap().throttles.len() <= 2 * SOURCES_MORE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_waits() {
        let requests = RequestRate::new(100);
        let source = Source::of(([192, 0, 2, 1], 1).into());
        let began = Instant::now();
        for _ in 0..150 {
            requests.admit(source).await;
        }
        assert_eq!(began.elapsed().as_millis() / 100, 15);
    }
}
