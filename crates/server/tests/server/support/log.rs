//! The server's log lines, as they are said.

use std::io;

use tokio::sync::watch;
use towline_testkit::deadline::within;
use tracing::subscriber::DefaultGuard;

/// What is logged in this thread, and thus by a server in its runtime, until it is dropped.
pub(crate) struct Log {
    lines: watch::Sender<Vec<String>>,
    _capturing: DefaultGuard,
}

impl Log {
    pub(crate) fn capture() -> Self {
        let lines = watch::Sender::new(Vec::new());
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || LineWriter(writer.clone()))
            .finish();
        Self { lines, _capturing: tracing::subscriber::set_default(subscriber) }
    }

    /// All that was said so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// The first line that holds `part`, waiting for it if need be.
    pub(crate) async fn wait(&self, part: &str) -> String {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(part)).cloned();
        let mut lines = self.lines.subscribe();
        let said = lines.wait_for(|lines| find(lines).is_some());
        let awaited = format!("the log line {part:?}");
        find(&within(&awaited, said).await.unwrap()).unwrap()
    }
}

/// Takes each formatted event, which comes in one write.
struct LineWriter(watch::Sender<Vec<String>>);

impl io::Write for LineWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(event).into_owned();
        self.0.send_modify(|lines| lines.push(line));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
