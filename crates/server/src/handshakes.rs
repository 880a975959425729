//! Handshakes under way: only so many, and the one that has stood longest gives way to a new one. Peers that fall
//! silent in the middle so keep nobody out: an honest client needs its place for a moment only.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use towline_net::source::Source;

/// The places.
#[derive(Debug)]
pub(crate) struct Handshakes {
    max: AtomicUsize,
    under_way: Mutex<UnderWay>,
}

/// Those that have a place, by source and in the order in which they came.
#[derive(Debug, Default)]
struct UnderWay {
    next_number: u64,
    total: usize,
    by_source: HashMap<Source, BTreeMap<u64, CancellationToken>>,
}

/// A place, until it is dropped.
struct Place<'a> {
    handshakes: &'a Handshakes,
    source: Source,
    number: u64,
    gave_way: CancellationToken,
}

impl Handshakes {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: AtomicUsize::new(max), under_way: Mutex::default() }
    }

    /// From now on so many may be under way.
    pub(crate) fn replace(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// The outcome of `handshake`, which is with `source`; `None` where it had to give way to another.
    pub(crate) async fn run<T>(
        &self,
        source: Source,
        handshake: impl Future<Output = T>,
    ) -> Option<T> {
        let place = self.take_place(source);
        place.gave_way.run_until_cancelled(handshake).await
    }

    fn take_place(&self, source: Source) -> Place<'_> {
        let gave_way = CancellationToken::new();
        let mut under_way = self.under_way();
        while under_way.total > 0 && under_way.total >= self.max.load(Ordering::Relaxed) {
            under_way.end_oldest();
        }
        let number = under_way.next_number;
        under_way.next_number += 1;
        under_way.total += 1;
        under_way.by_source.entry(source).or_default().insert(number, gave_way.clone());
        Place { handshakes: self, source, number, gave_way }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// Ends the oldest of the source that has the most, so that a flood from one place pays for itself.
    fn end_oldest(&mut self) {
        let order =
            |places: &BTreeMap<u64, _>| (places.len(), Reverse(places.keys().next().copied()));
        let busiest = self.by_source.iter().max_by_key(|(_, places)| order(places));
        let oldest = busiest.and_then(|(source, places)| Some((*source, *places.keys().next()?)));
        if let Some((source, number)) = oldest
            && let Some(gave_way) = self.remove(source, number)
        {
            gave_way.cancel();
        }
    }

    /// Takes a place back, unless that was done.
    fn remove(&mut self, source: Source, number: u64) -> Option<CancellationToken> {
        let places = self.by_source.get_mut(&source)?;
        let removed = places.remove(&number)?;
        self.total -= 1;
        if places.is_empty() {
            self.by_source.remove(&source);
        }
        Some(removed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.under_way().remove(self.source, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::task::yield_now;

    use super::*;

    fn source(last: u8) -> Source {
        Source::of(([192, 0, 2, last], 1).into())
    }

    #[tokio::test]
    async fn the_oldest_of_the_busiest_source_gives_way() {
        let handshakes = Handshakes::new(3);
        let mut honest = Box::pin(handshakes.run(source(1), pending::<()>()));
        let mut oldest = Box::pin(handshakes.run(source(2), pending::<()>()));
        let mut younger = Box::pin(handshakes.run(source(2), pending::<()>()));
        for standing in [&mut honest, &mut oldest, &mut younger] {
            assert!(outcome_so_far(standing).await.is_none());
        }
        assert_eq!(handshakes.run(source(3), ready("done")).await, Some("done"));
        assert_eq!(outcome_so_far(&mut oldest).await, Some(None));
        for standing in [&mut honest, &mut younger] {
            assert!(outcome_so_far(standing).await.is_none());
        }
    }

    #[tokio::test]
    async fn places_come_back_however_a_handshake_ends() {
        let handshakes = Handshakes::new(2);
        for number in 0..10 {
            assert_eq!(handshakes.run(source(number), ready(number)).await, Some(number));
            let mut dropped = Box::pin(handshakes.run(source(number), pending::<()>()));
            assert!(outcome_so_far(&mut dropped).await.is_none());
        }
        let under_way = handshakes.under_way();
        assert!(under_way.total == 0 && under_way.by_source.is_empty(), "{under_way:?}");
    }

    /// What the future has come to, if it has.
    async fn outcome_so_far<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        tokio::select! {
            biased;
            outcome = future => Some(outcome),
            () = yield_now() => None,
        }
    }
}
