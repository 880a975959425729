//! The wish that a server end, and who waits for it.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Ends a server from outside: first politely, then at once. Clones act on the same server.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Shutdown {
    /// Stops accepting; transfers under way may go on for the server's grace.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends transfers under way as well.
    pub fn cut(&self) {
        self.drain.cancel();
        self.cut.cancel();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    pub(crate) async fn draining(&self) {
        self.drain.cancelled().await;
    }

    pub(crate) async fn cutting(&self) {
        self.cut.cancelled().await;
    }

    /// The outcome of `step`, unless draining begins first.
    pub(crate) async fn unless_draining<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        self.drain.run_until_cancelled(step).await
    }
}
