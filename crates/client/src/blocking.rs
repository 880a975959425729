//! Work that waits for the disk, in threads where waiting is allowed.

use std::panic::resume_unwind;

use tokio::task::{JoinError, spawn_blocking};

/// Runs such work to its end.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(spawn_blocking(work).await)
}

/// The result of a task that nobody cancels; its panic goes on in whoever looks after it.
pub(crate) fn joined<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|died| resume_unwind(died.into_panic()))
}
