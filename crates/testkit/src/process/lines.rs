//! The lines that a process writes, kept for assertions by a thread that reads them as they come.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use crate::deadline::WAIT_MAX;

/// Lines that are kept; the oldest are forgotten first.
const LINES_MAX: usize = 100_000;

/// A longer line is kept as several.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The lines read so far, shared with the thread that reads on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    shared: Arc<(Mutex<Kept>, Condvar)>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    ended: bool,
}

impl Lines {
    /// Reads `source` to its end in a thread of its own, so that the writer never waits.
    pub(crate) fn read(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            while let Some(line) = next_line(&mut source) {
                writer.update(|kept| kept.push(line));
            }
            writer.update(|kept| kept.ended = true);
        });
        lines
    }

    /// All lines kept so far, without their ends.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// All lines kept, once there are no more to come.
    ///
    /// # Panics
    /// After [`WAIT_MAX`].
    pub(crate) fn to_the_end(&self) -> Vec<String> {
        let (kept, waited) = self
            .shared
            .1
            .wait_timeout_while(self.lock(), WAIT_MAX, |kept| !kept.ended)
            .expect("no holder of the lock panics");
        assert!(!waited.timed_out(), "waited {WAIT_MAX:?} for the end of the lines");
        kept.lines.iter().cloned().collect()
    }

    /// The first line that holds `part`, waiting for it if need be. `None` where the lines end
    /// without it, or after [`WAIT_MAX`].
    pub(crate) fn wait(&self, part: &str) -> Option<String> {
        let (_, changed) = &*self.shared;
        let undecided = |kept: &mut Kept| !kept.ended && kept.find(part).is_none();
        let (kept, _) = changed
            .wait_timeout_while(self.lock(), WAIT_MAX, undecided)
            .expect("no holder of the lock panics");
        kept.find(part).cloned()
    }

    fn update(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.shared.0.lock().expect("no holder of the lock panics")
    }
}

impl Kept {
    fn push(&mut self, line: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn find(&self, part: &str) -> Option<&String> {
        self.lines.iter().find(|line| line.contains(part))
    }
}

/// The next line, or `None` at the end; a failed read is an end too.
fn next_line(source: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let length = source.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).ok()?;
    let text = String::from_utf8_lossy(&line);
    (length > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_without_their_ends() {
        let lines = Lines::read(&b"one\r\ntwo\n\nlast"[..]);
        assert_eq!(lines.wait("last").as_deref(), Some("last"));
        assert_eq!(lines.all(), ["one", "two", "", "last"]);
    }

    #[test]
    fn what_never_comes_is_not_awaited_past_the_end() {
        let lines = Lines::read(&b"one\n"[..]);
        assert_eq!(lines.wait("two"), None);
        assert_eq!(lines.to_the_end(), ["one"]);
    }

    #[test]
    fn an_overlong_line_comes_in_parts() {
        let lines = Lines::read(std::io::repeat(b'x').take(LINE_BYTES_MAX + 1));
        assert_eq!(lines.wait("nothing"), None);
        let lengths: Vec<u64> = lines.all().iter().map(|line| line.len() as u64).collect();
        assert_eq!(lengths, [LINE_BYTES_MAX, 1]);
    }

    #[test]
    fn the_oldest_lines_are_forgotten() {
        let mut kept = Kept::default();
        for number in 0..=LINES_MAX {
            kept.push(number.to_string());
        }
        assert_eq!((kept.lines.len(), kept.lines[0].as_str()), (LINES_MAX, "1"));
    }
}
