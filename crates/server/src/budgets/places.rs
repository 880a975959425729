//! Places: how much of something all hold at once, and how much those from one source.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;
use towline_net::source::Source;

use crate::per_source::PerSource;

/// How long somebody waits for places that others may hold for as long as their peers take.
const TURN_MAX: Duration = Duration::from_secs(20);

/// So many places, of which each source has a part.
///
/// Waiters queue per source first; a source has at most its own quota in the global queue.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    each: u32,
    sources: PerSource<Semaphore>,
    /// How often somebody found none.
    found_none: Counter,
}

/// Some places, until they are given back or this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of_all: OwnedSemaphorePermit,
    of_source: OwnedSemaphorePermit,
}

/// There was no place for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much of that is going on; try again later")]
pub(crate) struct Busy;

impl Places {
    /// So many places for all together, and so many of them for one source. Who finds none is counted.
    pub(crate) fn new(all: u32, each: u32, found_none: Counter) -> Self {
        let all = Arc::new(Semaphore::new(all as usize));
        Self { all, each, sources: PerSource::default(), found_none }
    }

    /// Takes so many places, or all of the source's where that are fewer, as soon as they are free. Who gives up waiting
    /// leaves the queue.
    pub(crate) async fn take(&self, source: Source, count: usize) -> Place {
        if let Some(place) = self.try_take(source, count) {
            return place;
        }
        let count = self.within_reach(count);
        let of_source = acquire(self.of(source), count).await;
        let of_all = acquire(Arc::clone(&self.all), count).await;
        Place { of_all, of_source }
    }

    /// Like `take`, for places that are held while peers are waited for: fails after a long wait.
    pub(crate) async fn take_soon(&self, source: Source, count: usize) -> Result<Place, Busy> {
        timeout(TURN_MAX, self.take(source, count)).await.map_err(|_| Busy)
    }

    /// Takes so many places, or all of the source's, if they are free and nobody waits for them.
    pub(crate) fn try_take(&self, source: Source, count: usize) -> Option<Place> {
        let count = self.within_reach(count);
        let of_source = self.of(source).try_acquire_many_owned(count);
        let of_all = Arc::clone(&self.all).try_acquire_many_owned(count);
        let both: Result<_, TryAcquireError> =
            of_source.and_then(|of_source| Ok(Place { of_all: of_all?, of_source }));
        if both.is_err() {
            self.found_none.inc();
        }
        both.ok()
    }

    fn within_reach(&self, count: usize) -> u32 {
        u32::try_from(count).unwrap_or(u32::MAX).min(self.each)
    }

    fn of(&self, source: Source) -> Arc<Semaphore> {
        self.sources.of(source, || Semaphore::new(self.each as usize))
    }
}

impl Place {
    /// Gives back what is more than `count`.
    pub(crate) fn shrink_to(&mut self, count: usize) {
        let spare = self.of_all.num_permits().saturating_sub(count);
        drop((self.of_all.split(spare), self.of_source.split(spare)));
    }
}

async fn acquire(places: Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    places.acquire_many_owned(count).await.expect("nobody closes it")
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn places(all: u32, each: u32) -> Places {
        Places::new(all, each, Counter::default())
    }

    fn source(last: u8) -> Source {
        Source::of(([192, 0, 2, last], 1).into())
    }

    fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_source_does_not_have_the_places_of_others() {
        let places = places(8, 3);
        let held: Vec<_> = (0..3).filter_map(|_| places.try_take(source(1), 1)).collect();
        assert_eq!(held.len(), 3);
        assert!(places.try_take(source(1), 1).is_none());
        assert!(ready(places.take(source(1), 1)).is_none());
        assert!(places.try_take(source(2), 3).is_some());
        drop(held);
        assert!(ready(places.take(source(1), 3)).is_some());
    }

    #[tokio::test]
    async fn a_source_that_asks_for_much_is_one_of_many_in_the_queue() {
        let places = places(2, 1);
        let mut held = vec![places.take(source(1), 1).await, places.take(source(2), 1).await];
        let mut greedy: Vec<_> = (0..9).map(|_| Box::pin(places.take(source(3), 1))).collect();
        assert!(greedy.iter_mut().all(|taking| ready(taking).is_none()));
        let mut modest = Box::pin(places.take(source(4), 1));
        assert!(ready(&mut modest).is_none());
        held.pop();
        let first = ready(&mut greedy[0]);
        assert!(first.is_some() && ready(&mut modest).is_none());
        held.pop();
        assert!(greedy[1..].iter_mut().all(|taking| ready(taking).is_none()));
        assert!(ready(&mut modest).is_some());
    }

    #[test]
    fn what_is_taken_without_waiting_overtakes_nobody() {
        let places = places(8, 8);
        let held = places.try_take(source(1), 6);
        let mut waiting = Box::pin(places.take(source(2), 4));
        assert!(ready(&mut waiting).is_none());
        assert!(places.try_take(source(3), 1).is_none());
        drop(held);
        assert!(ready(&mut waiting).is_some());
    }

    #[test]
    fn more_than_a_source_may_have_is_all_that_it_may_have() {
        let places = places(8, 3);
        let all = places.try_take(source(1), usize::MAX).unwrap();
        assert_eq!(all.of_all.num_permits(), 3);
        assert!(places.try_take(source(1), 1).is_none());
    }

    #[test]
    fn what_is_given_back_is_free_for_all() {
        let places = places(3, 3);
        let mut place = places.try_take(source(1), 3).unwrap();
        place.shrink_to(9);
        assert!(places.try_take(source(2), 1).is_none());
        place.shrink_to(1);
        assert!(places.try_take(source(2), 2).is_some());
        assert!(places.try_take(source(1), 2).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_long_is_told() {
        let places = places(1, 1);
        let held = places.take_soon(source(1), 1).await;
        assert!(held.is_ok());
        assert_eq!(places.take_soon(source(2), 1).await.unwrap_err(), Busy);
        assert_eq!(places.found_none.get(), 1);
    }
}
