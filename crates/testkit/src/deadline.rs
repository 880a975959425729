//! The bound on every wait of a test: what does not happen in time fails, and says so.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything that is awaited may take: long for a busy machine, short for a hung test.
pub const WAIT_MAX: Duration = Duration::from_mins(2);

/// How often [`poll`] looks.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Awaits `future` for at most [`WAIT_MAX`].
///
/// # Panics
/// When it takes longer; the message names what was `awaited`.
pub async fn within<F: Future>(awaited: &str, future: F) -> F::Output {
    let Ok(output) = tokio::time::timeout(WAIT_MAX, future).await else {
        panic!("waited {WAIT_MAX:?} for {awaited}");
    };
    output
}

/// Calls `look` until it finds something, for at most [`WAIT_MAX`]; for what cannot notify.
///
/// # Panics
/// When it takes longer; the message names what was `awaited`.
pub fn poll<T>(awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {WAIT_MAX:?} for {awaited}");
        thread::sleep(POLL_EVERY);
    }
}
