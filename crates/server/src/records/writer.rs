//! A log file that a thread of its own writes, so that a slow or full disk holds up nobody: lines wait in a bounded
//! queue, and where it is full they are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::line::{Format, Line};

/// Lines that wait at most.
const WAITING_MAX: usize = 16 * 1_024;

/// Bytes that are written at once, about.
const WRITE_BYTES: usize = 64 * 1_024;

/// How long a file that cannot be written is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Who may read it: its owner and group. It tells who fetches what.
const MODE: u32 = 0o640;

/// A log file. What it holds is written out when this is dropped.
#[derive(Debug)]
pub(super) struct LogFile {
    format: Format,
    /// `None` once it is being closed.
    lines: Option<SyncSender<Entry>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// What the queue holds.
enum Entry {
    Line(String),
    /// Nothing to write.
    Wake,
    /// Dropped once all that was queued before it is written.
    Mark(SyncSender<()>),
}

/// What both sides of the queue see.
#[derive(Debug, Default)]
struct State {
    dropped: AtomicU64,
    is_to_reopen: AtomicBool,
}

/// The thread's side.
struct Writer {
    path: PathBuf,
    format: Format,
    state: Arc<State>,
    /// `None` while the file cannot be opened.
    file: Option<File>,
    /// Since when writing it fails, or its opening, if it does.
    failing_since: Option<Instant>,
    told_dropped: u64,
}

impl LogFile {
    /// Appends to the file at `path`. One that cannot be written is told in the server's own log, and tried again.
    pub(super) fn open(path: &Path, format: Format) -> io::Result<Self> {
        let (lines, queue) = sync_channel(WAITING_MAX);
        let state = Arc::<State>::default();
        let mut writer = Writer {
            path: path.to_owned(),
            format,
            state: Arc::clone(&state),
            file: None,
            failing_since: None,
            told_dropped: 0,
        };
        let write = move || writer.run(&queue);
        let thread = thread::Builder::new().name("towline-log".into()).spawn(write)?;
        Ok(Self { format, lines: Some(lines), state, thread: Some(thread) })
    }

    /// Adds a line, without waiting.
    pub(super) fn write(&self, line: &Line) {
        let line = line.format(self.format);
        if self.lines.as_ref().is_none_or(|lines| lines.try_send(Entry::Line(line)).is_err()) {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Goes on in the file that has the path by then.
    pub(super) fn reopen(&self) {
        self.state.is_to_reopen.store(true, Ordering::Release);
        // Wakes the thread; where the queue is full it is awake.
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(Entry::Wake);
        }
    }

    /// Waits until all lines are written that were added before.
    pub(super) fn flush(&self) {
        let (mark, is_written) = sync_channel(0);
        if let Some(lines) = &self.lines
            && lines.send(Entry::Mark(mark)).is_ok()
        {
            // Nothing is sent.
            let _ = is_written.recv();
        }
    }

    /// How many lines are missing.
    pub(super) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been told.
            let _ = thread.join();
        }
    }
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Entry>) {
        self.open();
        let (mut batch, mut marks) = (String::new(), Vec::new());
        while let Ok(first) = queue.recv() {
            if self.state.is_to_reopen.swap(false, Ordering::Acquire) {
                self.open();
            }
            let mut next = Some(first);
            while let Some(entry) = next {
                match entry {
                    Entry::Line(line) => batch.push_str(&line),
                    Entry::Mark(mark) => marks.push(mark),
                    Entry::Wake => {}
                }
                next = queue.try_recv().ok().filter(|_| batch.len() < WRITE_BYTES);
            }
            self.write(&batch);
            batch.clear();
            marks.clear();
        }
    }

    fn open(&mut self) {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(MODE);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        match options.open(&self.path) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.note_failure(&error),
        }
    }

    /// Writes whole lines, behind a line that tells how many are missing before them.
    fn write(&mut self, batch: &str) {
        let is_failing = self.failing_since.is_some();
        if self.failing_since.is_some_and(|since| since.elapsed() >= RETRY_INTERVAL) {
            self.failing_since = Some(Instant::now());
            self.open();
        }
        let dropped = self.state.dropped.load(Ordering::Relaxed);
        let lines = batch.matches('\n').count() as u64;
        let Some(file) = &mut self.file else {
            self.state.dropped.fetch_add(lines, Ordering::Relaxed);
            return;
        };
        let missing = dropped - self.told_dropped;
        let told = (missing > 0).then(|| Line::dropped(missing).format(self.format));
        // What failed before may have left half a line.
        let end = if is_failing { "\n" } else { "" };
        let bytes = [end, told.as_deref().unwrap_or_default(), batch].concat();
        match file.write_all(bytes.as_bytes()) {
            Ok(()) => (self.told_dropped, self.failing_since) = (dropped, None),
            Err(error) => {
                self.state.dropped.fetch_add(lines, Ordering::Relaxed);
                self.note_failure(&error);
            }
        }
    }

    /// Tells it once, until writing succeeds again.
    fn note_failure(&mut self, error: &io::Error) {
        self.file = None;
        if self.failing_since.replace(Instant::now()).is_none() {
            tracing::error!("cannot write the log {:?}, its lines are dropped: {error}", self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use towline_testkit::deadline::poll;

    use super::*;
    use crate::records::event::Event;

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    fn line() -> Line {
        Line::event(&Event::Started)
    }

    #[test]
    fn every_line_is_there_once_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for _ in 0..2 {
            let log = LogFile::open(&path, Format::Text).unwrap();
            (0..1_000).for_each(|_| log.write(&line()));
        }
        assert_eq!(lines(&path).len(), 2_000);
    }

    #[test]
    fn what_was_added_before_a_flush_is_there_after_it_whoever_still_has_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = LogFile::open(&path, Format::Text).unwrap();
        (0..1_000).for_each(|_| log.write(&line()));
        log.flush();
        assert_eq!(lines(&path).len(), 1_000);
    }

    #[test]
    fn after_a_reopening_it_goes_on_in_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = LogFile::open(&path, Format::Text).unwrap();
        log.write(&line());
        // Whether the line was written before or after the move: it is written.
        poll("a log", || path.exists().then_some(()));
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        poll("a new log", || path.exists().then_some(()));
        log.write(&line());
        drop(log);
        assert_eq!(lines(&moved).len() + lines(&path).len(), 2);
        assert!(!lines(&path).is_empty());
    }

    #[test]
    fn a_disk_that_was_full_for_a_moment_is_written_again_without_being_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (way, other) = (folder.path().join("way"), folder.path().join("other"));
        std::os::unix::fs::symlink("/dev", &way).unwrap();
        let log = LogFile::open(&way.join("full"), Format::Text).unwrap();
        log.write(&line());
        poll("a dropped line", || (log.dropped() > 0).then_some(()));
        std::fs::create_dir(&other).unwrap();
        std::fs::remove_file(&way).unwrap();
        std::os::unix::fs::symlink(&other, &way).unwrap();
        let path = other.join("full");
        poll("a line", || {
            log.write(&line());
            path.exists().then_some(())
        });
        let dropped = log.dropped();
        drop(log);
        let told = format!("lines-dropped count={dropped}");
        assert!(lines(&path).iter().any(|line| line.ends_with(&told)), "{told}");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_when_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/log");
        let log = LogFile::open(&path, Format::Json).unwrap();
        log.write(&line());
        poll("a dropped line", || (log.dropped() > 0).then_some(()));
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        // Nobody asks for it to be reopened.
        poll("a line", || {
            log.write(&line());
            path.exists().then_some(())
        });
        drop(log);
        let lines = lines(&path);
        let lines: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
        assert!(lines[0].contains("lines-dropped"), "{lines:?}");
        assert!(lines[1].contains("start"), "{lines:?}");
    }
}
