//! Connections that files which come at the same time share: each seat is one of them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many seats, taken in the order in which they are asked for.
#[derive(Clone, Debug)]
pub struct Seats {
    count: u32,
    free: Arc<Semaphore>,
}

/// Seats that are somebody's until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    count: u32,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    /// All of them are free.
    pub(super) fn new(count: u32) -> Self {
        Self { count, free: Arc::new(Semaphore::new(count as usize)) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Waits until `wanted` are free, or all if there are not so many.
    pub(super) async fn take(&self, wanted: u32) -> Taken {
        let count = wanted.min(self.count);
        let permit = Arc::clone(&self.free).acquire_many_owned(count).await;
        Taken { count, _permit: permit.expect("nobody closes it") }
    }

    /// Takes one if it is free and nobody waits for it.
    pub(super) fn take_spare(&self) -> Option<Taken> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Taken { count: 1, _permit: permit })
    }
}

impl Taken {
    /// How many they are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::Seats;

    #[tokio::test]
    async fn spare_seats_are_those_that_nobody_waits_for() {
        let seats = Seats::new(3);
        let first = seats.take(2).await;
        let mut waiting = pin!(seats.take(9));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert!(seats.take_spare().is_none(), "the third is kept for who waits for all");
        drop(first);
        let all = waiting.await;
        assert_eq!(all.count(), 3);
        assert!(seats.take_spare().is_none());
        drop(all);
        assert!(seats.take_spare().is_some());
    }
}
