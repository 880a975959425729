//! Whether a server still takes connections: its accept loops are asked, and answer themselves.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast, mpsc};

/// Asks the accept loops.
pub(crate) struct Pulse {
    questions: broadcast::Sender<mpsc::Sender<()>>,
    loops: AtomicUsize,
    /// Who asks: one after the other.
    asking: Mutex<()>,
}

/// An accept loop's end of it.
pub(crate) struct Answers(broadcast::Receiver<mpsc::Sender<()>>);

impl Default for Pulse {
    fn default() -> Self {
        Self {
            questions: broadcast::Sender::new(1),
            loops: AtomicUsize::new(0),
            asking: Mutex::default(),
        }
    }
}

impl Pulse {
    /// The end of one more accept loop, which counts as long as the server does.
    pub(crate) fn join(&self) -> Answers {
        self.loops.fetch_add(1, Ordering::Relaxed);
        Answers(self.questions.subscribe())
    }

    /// Whether all accept loops answer; waits for those that are there, and for whoever asks already.
    pub(crate) async fn is_felt(&self) -> bool {
        let _turn = self.asking.lock().await;
        let loops = self.loops.load(Ordering::Relaxed);
        let (asker, mut answers) = mpsc::channel(loops.max(1));
        // Where nobody is left to be asked, nobody answers.
        let _ = self.questions.send(asker);
        for _ in 0..loops {
            if answers.recv().await.is_none() {
                return false;
            }
        }
        true
    }
}

impl Answers {
    /// Answers for as long as it is polled.
    pub(crate) async fn give(&mut self) -> Infallible {
        loop {
            match self.0.recv().await {
                Ok(asker) => drop(asker.try_send(())),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn several_who_ask_at_once_are_all_answered() {
        let pulse = Pulse::default();
        let mut answers = pulse.join();
        let asking = async { tokio::join!(pulse.is_felt(), pulse.is_felt(), pulse.is_felt()) };
        tokio::select! {
            felt = asking => assert_eq!(felt, (true, true, true)),
            never = answers.give() => match never {},
        }
    }

    #[tokio::test]
    async fn a_loop_that_has_ended_or_stands_still_is_noticed() {
        let pulse = Pulse::default();
        let (mut one, mut other) = (pulse.join(), pulse.join());
        let felt = async {
            tokio::select! {
                felt = pulse.is_felt() => felt,
                never = one.give() => match never {},
                never = other.give() => match never {},
            }
        };
        assert!(felt.await);
        // One that is not polled keeps the answer waiting.
        let mut still = pin!(pulse.is_felt());
        tokio::select! {
            biased;
            _ = &mut still => panic!("an answer from nobody"),
            never = one.give() => match never {},
            () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {}
        }
        drop(other);
        tokio::select! {
            felt = still => assert!(!felt),
            never = one.give() => match never {},
        }
    }
}
