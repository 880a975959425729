//! How far a transfer is, as every watcher counts it; how it is shown is theirs. Pure: the clock is the caller's.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use towline_client::monitor::Event;
use towline_proto::milestones::Milestones;

use crate::output;

/// The rate is that of so long a time before now.
const WINDOW: Duration = Duration::from_secs(5);

/// Two samples of the rate are at least so far apart.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// No rate is told from less time than this.
const RATE_TIME_MIN: Duration = Duration::from_millis(500);

/// What of a transfer's bytes is here, and how fast the rest comes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) size: u64,
    /// Arrived, or here from before.
    done_bytes: u64,
    pub(super) kept_bytes: u64,
    pub(super) repaired_bytes: u64,
    /// None where the protocol has but one.
    pub(super) connections: usize,
    arrived_bytes: u64,
    /// When how many bytes had arrived.
    samples: VecDeque<(Instant, u64)>,
}

impl Progress {
    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) {
        match event {
            Event::Started { size, .. } => {
                let (connections, repaired_bytes) = (self.connections, self.repaired_bytes);
                *self = Self { size: *size, connections, repaired_bytes, ..Self::default() };
                self.samples.push_back((now, 0));
            }
            Event::Connections { count } => self.connections = *count,
            Event::Received { bytes } => {
                self.done_bytes += bytes;
                self.arrived(*bytes, now);
            }
            Event::Holes { bytes } => self.done_bytes += bytes,
            Event::Kept { bytes } => {
                self.done_bytes += bytes;
                self.kept_bytes += bytes;
            }
            Event::Damaged { bytes } => {
                self.done_bytes = self.done_bytes.saturating_sub(*bytes);
                self.repaired_bytes += bytes;
            }
            _ => {}
        }
    }

    fn arrived(&mut self, bytes: u64, now: Instant) {
        self.arrived_bytes += bytes;
        let is_due = |(last, _): &(Instant, u64)| now.duration_since(*last) >= SAMPLE_INTERVAL;
        if self.samples.back().is_none_or(is_due) {
            self.samples.push_back((now, self.arrived_bytes));
        }
        while self.samples.get(1).is_some_and(|(time, _)| now.duration_since(*time) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Bytes that are here; what came twice counts once.
    pub(super) fn done_bytes(&self) -> u64 {
        self.done_bytes.min(self.size)
    }

    /// How much of the whole that is.
    pub(super) fn percent(&self) -> u64 {
        let done = u128::from(self.done_bytes()) * 100;
        u64::try_from(done.checked_div(u128::from(self.size)).unwrap_or(100)).unwrap_or(100)
    }

    /// How fast content has been coming lately; what was here from before says nothing about it.
    pub(super) fn bytes_per_s(&self, now: Instant) -> Option<u64> {
        let is_old = |(time, _): &&(Instant, u64)| now.duration_since(*time) >= WINDOW;
        let (began, before) =
            self.samples.iter().rev().find(is_old).or_else(|| self.samples.front())?;
        let time = now.duration_since(*began);
        let bytes = u128::from(self.arrived_bytes - before);
        let per_s = (bytes * 1_000).checked_div(time.as_millis())?;
        (time >= RATE_TIME_MIN).then(|| u64::try_from(per_s).unwrap_or(u64::MAX))
    }

    /// How long the rest takes if it goes on so.
    pub(super) fn time_left(&self, now: Instant) -> Option<Duration> {
        let left_ms = u128::from(self.size - self.done_bytes()) * 1_000;
        let milliseconds = left_ms.checked_div(u128::from(self.bytes_per_s(now)?))?;
        u64::try_from(milliseconds).ok().map(Duration::from_millis)
    }

    /// All that there is to tell, the most telling first.
    pub(super) fn facts(&self, now: Instant) -> Vec<String> {
        let mut facts = vec![output::part(self.done_bytes(), self.size).to_string()];
        if let Some(rate) = self.bytes_per_s(now) {
            facts.push(format!("{}/s", output::short_size(rate)));
        }
        if let Some(time) = self.time_left(now) {
            facts.push(format!("{} left", output::short_time(time)));
        }
        if self.connections > 0 {
            facts.push(format!("{} conn.", self.connections));
        }
        for (bytes, word) in [(self.kept_bytes, "resumed"), (self.repaired_bytes, "repaired")] {
            if bytes > 0 {
                facts.push(format!("{} {word}", output::short_size(bytes)));
            }
        }
        facts
    }
}

/// Progress, and which tenths of the way were told.
#[derive(Debug)]
pub(super) struct Tenths {
    pub(super) progress: Progress,
    milestones: Milestones,
}

impl Tenths {
    pub(super) fn new() -> Self {
        Self { progress: Progress::default(), milestones: Milestones::new(0) }
    }

    /// Takes note of an event; tells the percentage where another tenth of the way is done.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) -> Option<u8> {
        self.progress.note(event, now);
        if let Event::Started { size, .. } = event {
            self.milestones = Milestones::new(*size);
        }
        self.milestones.reached(self.progress.done_bytes())
    }
}

/// How far it is, in words.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        output::part(self.done_bytes(), self.size).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use towline_client::monitor::Event;

    use super::Progress;

    const MIB: u64 = 1 << 20;

    fn started(size: u64, now: Instant) -> Progress {
        let mut progress = Progress::default();
        progress.note(&Event::Started { size, md5: None }, now);
        progress
    }

    #[test]
    fn resumed_bytes_and_holes_count_as_done_and_not_in_the_rate() {
        let began = Instant::now();
        let mut progress = started(100 * MIB, began);
        let later = began + Duration::from_secs(2);
        progress.note(&Event::Kept { bytes: 40 * MIB }, later);
        progress.note(&Event::Holes { bytes: 20 * MIB }, later);
        progress.note(&Event::Received { bytes: 20 * MIB }, later);
        assert_eq!((progress.done_bytes(), progress.percent()), (80 * MIB, 80));
        assert_eq!(progress.bytes_per_s(later), Some(10 * MIB));
        assert_eq!(progress.time_left(later), Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let began = Instant::now();
        let mut progress = started(1_000 * MIB, began);
        let mut now = began;
        for megabytes in [10, 10, 10, 10, 10, 10, 1, 1, 1, 1, 1] {
            now += Duration::from_secs(1);
            progress.note(&Event::Received { bytes: megabytes * MIB }, now);
        }
        assert_eq!(progress.bytes_per_s(now), Some(MIB));
        assert_eq!(progress.bytes_per_s(now + Duration::from_mins(1)), Some(0));
        assert_eq!(progress.time_left(now + Duration::from_mins(1)), None);
    }

    #[test]
    fn damaged_bytes_are_no_more_here_and_duplicates_are_not_more_than_all() {
        let now = Instant::now();
        let mut progress = started(10 * MIB, now);
        progress.note(&Event::Received { bytes: 9 * MIB }, now);
        progress.note(&Event::Damaged { bytes: MIB }, now);
        assert_eq!((progress.done_bytes(), progress.repaired_bytes), (8 * MIB, MIB));
        progress.note(&Event::Received { bytes: 3 * MIB }, now);
        assert_eq!((progress.done_bytes(), progress.percent()), (10 * MIB, 100));
        assert_eq!(started(0, now).percent(), 100);
    }

    #[test]
    fn facts_are_short_and_leave_out_what_there_is_none_of() {
        let began = Instant::now();
        let mut progress = started(1_024 * MIB, began);
        assert_eq!(progress.facts(began), ["0 of 1024 MiB"]);
        let now = began + Duration::from_secs(1);
        progress.note(&Event::Connections { count: 2 }, now);
        progress.note(&Event::Kept { bytes: 100 * MIB }, now);
        progress.note(&Event::Received { bytes: 330 * MIB }, now);
        assert_eq!(
            progress.facts(now),
            ["430 of 1024 MiB", "330 MiB/s", "2 s left", "2 conn.", "100 MiB resumed"]
        );
    }
}
