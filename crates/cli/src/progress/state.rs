//! How far a transfer is, as every watcher counts it; how it is shown is theirs. Pure: the clock is the caller's.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use towline_client::monitor::Event;
use towline_proto::escape::Escaped;
use towline_proto::milestones::Milestones;
use towline_proto::name::RemoteName;

use super::line::shortened;
use crate::output;

/// Columns for the name of a large file among a tree's facts.
const LARGE_NAME_COLUMNS: usize = 24;

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
    /// Whether the result has its final name: nothing else is all of it.
    is_over: bool,
    pub(super) kept_bytes: u64,
    pub(super) repaired_bytes: u64,
    /// None where the protocol has but one.
    pub(super) connections: usize,
    /// None where it is about one file.
    pub(super) files: Option<Files>,
    arrived_bytes: u64,
    /// When anything was last found to be here.
    moved_at: Option<Instant>,
    /// When how many bytes had arrived.
    samples: VecDeque<(Instant, u64)>,
}

/// How far the files of a tree are.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) found: u64,
    pub(super) done: u64,
    /// Whether no more will be found.
    pub(super) is_all: bool,
    /// In the order in which they began.
    large: Vec<LargeFile>,
}

/// A file of a tree that comes by pieces.
#[derive(Clone, Debug)]
struct LargeFile {
    path: RemoteName,
    size: u64,
    done_bytes: u64,
}

impl Files {
    /// Takes note of an event.
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Found { files, .. } => self.found = self.found.saturating_add(*files),
            Event::FoundAll => self.is_all = true,
            Event::FilesArrived { files } => self.done += files,
            Event::LargeFileBegan { path, size } => {
                self.large.push(LargeFile { path: (*path).clone(), size: *size, done_bytes: 0 });
            }
            Event::LargeFileGrew { path, bytes } => {
                if let Some(large) = self.large.iter_mut().find(|large| large.path == **path) {
                    large.done_bytes += bytes;
                }
            }
            Event::LargeFileEnded { path } => self.large.retain(|large| large.path != **path),
            _ => {}
        }
    }

    fn facts(&self) -> impl Iterator<Item = String> {
        let more = if self.is_all { "" } else { " found so far" };
        let files = format!("{} of {} files{more}", self.done, self.found);
        let large = self.large.first().map(|LargeFile { path, size, done_bytes }| {
            let name = Escaped(path.file_name()).to_string();
            let others = match self.large.len() - 1 {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            let percent = percent(*done_bytes, *size);
            format!("{} {percent} %{others}", shortened(&name, LARGE_NAME_COLUMNS))
        });
        [Some(files), large].into_iter().flatten()
    }
}

/// Before the end it is never 100: what is here must still be verified, synced and named.
fn percent(done: u64, size: u64) -> u64 {
    let percent = (u128::from(done.min(size)) * 100).checked_div(u128::from(size)).unwrap_or(0);
    u64::try_from(percent).unwrap_or(u64::MAX).min(99)
}

impl Progress {
    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) {
        match event {
            Event::Started { size, .. } => {
                let (connections, repaired_bytes) = (self.connections, self.repaired_bytes);
                *self = Self { size: *size, connections, repaired_bytes, ..Self::default() };
                self.moved_at = Some(now);
                self.samples.push_back((now, 0));
            }
            Event::Connections { count } => self.connections = *count,
            // A server may declare any sizes.
            Event::Found { bytes, .. } => self.size = self.size.saturating_add(*bytes),
            Event::Received { bytes } => {
                self.done_bytes += bytes;
                self.arrived(*bytes, now);
            }
            Event::Holes { bytes } => self.done_bytes = self.done_bytes.saturating_add(*bytes),
            Event::Kept { bytes } => {
                self.done_bytes += bytes;
                self.kept_bytes += bytes;
            }
            Event::Discarded { bytes } => {
                self.done_bytes = self.done_bytes.saturating_sub(*bytes);
            }
            Event::Published { .. } => self.is_over = true,
            Event::Damaged { bytes } => {
                self.done_bytes = self.done_bytes.saturating_sub(*bytes);
                self.repaired_bytes += bytes;
            }
            _ => {}
        }
        if let Event::Received { .. } | Event::Holes { .. } | Event::Kept { .. } = event {
            self.moved_at = Some(now);
        }
        let is_of_a_tree = matches!(event, Event::Found { .. } | Event::FoundAll);
        if is_of_a_tree || self.files.is_some() {
            self.files.get_or_insert_default().note(event);
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
        if self.is_whole() { 100 } else { percent(self.done_bytes(), self.size) }
    }

    /// Whether all is here under its final name. What of a tree has failed is not.
    fn is_whole(&self) -> bool {
        self.is_over && self.done_bytes >= self.size
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
        // Before all is found, nobody knows how much there is.
        if self.files.as_ref().is_some_and(|files| !files.is_all) || self.is_stalled(now) {
            return None;
        }
        let left_ms = u128::from(self.size - self.done_bytes()) * 1_000;
        let milliseconds = left_ms.checked_div(u128::from(self.bytes_per_s(now)?))?;
        u64::try_from(milliseconds).ok().map(Duration::from_millis)
    }

    /// Whether nothing has come for long, and something should.
    fn is_stalled(&self, now: Instant) -> bool {
        let is_long_ago = |moved_at| now.duration_since(moved_at) >= WINDOW;
        self.moved_at.is_some_and(is_long_ago) && self.done_bytes() < self.size
    }

    /// All that there is to tell, the most telling first.
    pub(super) fn facts(&self, now: Instant) -> Vec<String> {
        let mut facts = vec![output::part(self.done_bytes(), self.size).to_string()];
        match self.bytes_per_s(now) {
            _ if self.is_stalled(now) => facts.push("stalled".to_owned()),
            Some(rate) => facts.push(format!("{}/s", output::short_size(rate))),
            None => {}
        }
        if let Some(time) = self.time_left(now) {
            facts.push(format!("{} left", output::short_time(time)));
        }
        facts.splice(0..0, self.files.iter().flat_map(Files::facts));
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
        if let Event::FoundAll = event {
            self.milestones = Milestones::new(self.progress.size);
        }
        let done_bytes = self.progress.done_bytes();
        let is_last = done_bytes == self.progress.size && !self.progress.is_whole();
        self.milestones.reached(done_bytes.saturating_sub(u64::from(is_last)))
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
    use towline_proto::name::RemoteName;

    use super::{Progress, Tenths};

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
        assert_eq!((progress.done_bytes(), progress.percent()), (10 * MIB, 99));
    }

    #[test]
    fn what_counts_for_nothing_is_taken_back_and_a_hundred_percent_is_the_end() {
        let now = Instant::now();
        let mut progress = started(10 * MIB, now);
        progress.note(&Event::Received { bytes: 6 * MIB }, now);
        progress.note(&Event::Holes { bytes: 6 * MIB }, now);
        progress.note(&Event::Discarded { bytes: 4 * MIB }, now);
        assert_eq!((progress.done_bytes(), progress.percent()), (8 * MIB, 80));
        progress.note(&Event::Holes { bytes: 2 * MIB }, now);
        assert_eq!((progress.done_bytes(), progress.percent()), (10 * MIB, 99));
        progress.note(&Event::Published { path: "file".as_ref() }, now);
        assert_eq!(progress.percent(), 100);
        assert_eq!(started(0, now).percent(), 0);
    }

    #[test]
    fn the_last_tenth_is_told_at_the_end() {
        let now = Instant::now();
        let mut tenths = Tenths::new();
        assert_eq!(tenths.note(&Event::Started { size: 100, md5: None }, now), None);
        assert_eq!(tenths.note(&Event::Received { bytes: 100 }, now), Some(90));
        let published = Event::Published { path: "file".as_ref() };
        assert_eq!(tenths.note(&published, now), Some(100));
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

    #[test]
    fn what_should_come_and_does_not_is_told_as_stalled() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut progress = started(4 * MIB, began);
        progress.note(&Event::Received { bytes: 2 * MIB }, after(1));
        assert_eq!(progress.facts(after(2))[1], "1024 KiB/s");
        assert_eq!(progress.facts(after(6)), ["2048 of 4096 KiB", "stalled"]);
        progress.note(&Event::Kept { bytes: MIB }, after(7));
        assert_eq!(progress.facts(after(8))[1], "0 B/s");
        progress.note(&Event::Received { bytes: MIB }, after(9));
        assert!(!progress.facts(after(60)).contains(&"stalled".to_owned()), "nothing is left");
    }

    #[test]
    fn a_tree_is_told_in_files_and_bytes_with_no_time_left_before_all_is_known() {
        let began = Instant::now();
        let mut progress = Progress::default();
        progress.note(&Event::Found { files: 3, bytes: 30 * MIB }, began);
        let path = RemoteName::parse(b"folder/film").unwrap();
        progress.note(&Event::LargeFileBegan { path: &path, size: 20 * MIB }, began);
        progress.note(&Event::LargeFileGrew { path: &path, bytes: 5 * MIB }, began);
        progress.note(&Event::Received { bytes: 5 * MIB }, began);
        let now = began + Duration::from_secs(1);
        progress.note(&Event::FilesArrived { files: 1 }, now);
        progress.note(&Event::Received { bytes: 5 * MIB }, now);
        let other = RemoteName::parse(b"folder/other").unwrap();
        progress.note(&Event::LargeFileBegan { path: &other, size: 5 * MIB }, now);
        progress.note(&Event::LargeFileGrew { path: &other, bytes: 5 * MIB }, now);
        let facts = ["1 of 3 files found so far", "film 25 % and 1 more", "10 of 30 MiB"];
        assert_eq!(progress.facts(now)[..3], facts);
        assert_eq!(progress.time_left(now), None);
        progress.note(&Event::FoundAll, now);
        progress.note(&Event::LargeFileEnded { path: &path }, now);
        assert_eq!(progress.facts(now)[1], "other 99 %");
        progress.note(&Event::LargeFileEnded { path: &other }, now);
        assert_eq!(progress.facts(now)[..2], ["1 of 3 files", "10 of 30 MiB"]);
        assert!(progress.time_left(now).is_some());
    }
}
