//! Proofs that may be wrong, in turns: those from one source come one after the other, however many connections they
//! come over, and each waits for what those before it have cost.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as Queue, OwnedMutexGuard};
use tokio::time::sleep;
use towline_net::source::Source;

use super::penalty::Penalties;
use crate::per_source::PerSource;

/// Everybody's queues and penalties.
#[derive(Debug, Default)]
pub(super) struct LoginQueues {
    penalties: Mutex<Penalties>,
    queues: PerSource<Queue<()>>,
}

/// A place at the head of a source's queue, until it is dropped.
pub(super) struct Turn<'a> {
    queues: &'a LoginQueues,
    source: Source,
    is_free: bool,
    _head: OwnedMutexGuard<()>,
}

impl LoginQueues {
    /// Waits for a turn. Who gives up waiting leaves the queue.
    pub(super) async fn turn(&self, source: Source) -> Turn<'_> {
        let head = self.queues.of(source, Queue::default).lock_owned().await;
        let cost = self.penalties().cost(source, Instant::now());
        sleep(cost).await;
        Turn { queues: self, source, is_free: false, _head: head }
    }

    fn penalties(&self) -> MutexGuard<'_, Penalties> {
        self.penalties.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The proof was right, or was not looked at.
    pub(super) fn costs_nothing(mut self) {
        self.is_free = true;
    }
}

/// A proof that was wrong has failed, and so has one whose peer left before it was looked at to the end.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_free {
            self.queues.penalties().note_failure(self.source, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_at_once_are_as_slow_as_one_after_the_other() {
        let queues = LoginQueues::default();
        let source = Source::of(([192, 0, 2, 1], 1).into());
        let guess = || async { drop(queues.turn(source).await) };
        let began = tokio::time::Instant::now();
        let all = async {
            tokio::join!(guess(), guess(), guess(), guess(), guess(), guess(), guess(), guess())
        };
        all.await;
        // Three are free; then half a second, one, two, four, eight.
        assert_eq!(began.elapsed().as_millis() / 100, 155);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_before_the_answer_has_guessed_all_the_same() {
        let queues = LoginQueues::default();
        let source = Source::of(([192, 0, 2, 1], 1).into());
        for _ in 0..3 {
            let mut left = Box::pin(async {
                let _turn = queues.turn(source).await;
                std::future::pending::<()>().await;
            });
            tokio::select! {
                biased;
                () = &mut left => {}
                () = tokio::task::yield_now() => {}
            }
        }
        let began = tokio::time::Instant::now();
        queues.turn(source).await.costs_nothing();
        assert_eq!(began.elapsed().as_millis() / 100, 5);
    }
}
