//! Ctrl-C and its relatives.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// SIGINT, from Ctrl-C.
    Interrupt,
    /// SIGTERM, from a service manager.
    Terminate,
}

/// Catches the signals that ask to end. From its making on, they no longer end the program by themselves.
pub(crate) struct Endings {
    interrupt: Signal,
    terminate: Signal,
}

impl Endings {
    /// Begins to catch. Also keeps a limit on file sizes (SIGXFSZ) from ending the program: writing past it
    /// is then an ordinary error.
    pub(crate) fn catch() -> std::io::Result<Self> {
        const SIGXFSZ: i32 = 25;
        // The handler stays when its stream is dropped.
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Interrupt,
            _ = self.terminate.recv() => Ending::Terminate,
        }
    }
}

/// SIGHUP, which asks a server to read its files again.
pub(crate) struct Reloads(Signal);

impl Reloads {
    /// Begins to catch. From its making on, the signal no longer ends the program.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}
