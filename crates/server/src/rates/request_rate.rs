//! How often a source may ask for something: who asks too often is answered later, and who would wait long is told to come
//! again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use towline_net::source::Source;
use towline_net::throttle::Throttle;

use crate::budgets::Busy;

/// Sources are looked through for ones to forget whenever there are this many more.
const SOURCES_MORE: usize = 1_024;

/// How long somebody waits. What was asked for counts also where who asked is gone: without a bound, a moment's flood
/// would keep out all others at its address for much longer.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Counts requests by source.
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

    /// Takes note of a request, and waits until it may be answered; tells how long. One that would wait for too long is
    /// not counted, and told only after a while, so that who asks again at once asks seldom.
    pub(crate) async fn admit(&self, source: Source) -> Result<Duration, Busy> {
        let taken = self.sources().take(source, self.began.elapsed());
        let wait = taken.unwrap_or(WAIT_MAX);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        taken.ok_or(Busy)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    fn new(per_s: u64) -> Self {
        Self { per_s, throttles: HashMap::new(), looked_through_at: 0 }
    }

    /// How long a request waits; `None` where that is too long.
    fn take(&mut self, source: Source, now: Duration) -> Option<Duration> {
        if self.throttles.len() >= self.looked_through_at + SOURCES_MORE {
            self.throttles.retain(|_, throttle| !throttle.wait(now).is_zero());
            self.looked_through_at = self.throttles.len();
        }
        let new = || Throttle::new(self.per_s);
        let throttle = self.throttles.entry(source).or_insert_with(new);
        // A throttle counts bytes; a request is one.
        (throttle.wait(now) < WAIT_MAX).then(|| throttle.take(1, now))
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[test]
    fn sources_that_owe_nothing_are_forgotten() {
        let requests = RequestRate::new(u64::MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            let source = Source::of(([10, 0, high, low], 1).into());
            runtime.block_on(requests.admit(source)).unwrap();
        }
        assert!(requests.sources.lock().unwrap().throttles.len() <= 2 * SOURCES_MORE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_waits() {
        let requests = RequestRate::new(100);
        let source = Source::of(([192, 0, 2, 1], 1).into());
        let began = Instant::now();
        for _ in 0..150 {
            requests.admit(source).await.unwrap();
        }
        assert_eq!(began.elapsed().as_millis() / 100, 15);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_keeps_nobody_out_for_longer_than_it_lasts() {
        let requests = RequestRate::new(100);
        let source = Source::of(([192, 0, 2, 1], 1).into());
        for _ in 0..100_000 {
            tokio::select! {
                biased;
                _ = requests.admit(source) => {}
                // Whoever has to wait leaves.
                () = ready(()) => {}
            }
        }
        assert_eq!(requests.admit(source).await, Err(Busy));
        let began = Instant::now();
        assert!(requests.admit(source).await.is_ok());
        assert!(began.elapsed() <= WAIT_MAX);
    }
}
