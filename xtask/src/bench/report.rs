//! The table of results and the ratios that are aimed at.

use std::fmt::Write as _;
use std::time::Duration;

use super::limits::Wire;
use super::measure::Timings;
use crate::table::Table;

const COLUMNS: [&str; 5] = ["", "median s", "MiB/s", "min–max s", "spread"];

/// A ratio of two contestants' speeds, and what it should be at least.
pub(super) struct Target {
    pub(super) of: &'static str,
    pub(super) against: &'static str,
    pub(super) at_least: f64,
}

/// What everybody does in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Work {
    pub(super) fn one_file(bytes: u64) -> Self {
        Self { files: 1, bytes }
    }

    /// How many files a second that is, in whole ones.
    pub(super) fn files_per_s(self, took: Duration) -> u128 {
        u128::from(self.files) * 1_000_000 / took.as_micros().max(1)
    }

    /// All bytes, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "shown with a digit or none after the point")]
    pub(super) fn mib(self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20)
    }
}

/// The table of one row set in which everybody did the same work, and its targets with how they were met.
pub(super) fn render(work: Work, results: &[Timings], targets: &[Target]) -> String {
    let find = |name: &str| results.iter().find(|timings| timings.name == name);
    let table = match find(Wire::NAME) {
        Some(wire) => with_share_of(wire, work, results),
        None if work.files > 1 => with_files(work, results),
        None => plain(work, results),
    };
    let mut text = format!("{} rounds\n\n{table}\n", round_count(results));
    for Target { of, against, at_least } in targets {
        if let (Some(one), Some(other)) = (find(of), find(against)) {
            // Both moved the same bytes, so the ratio of speeds is the inverse ratio of times.
            let ratio = other.median().as_secs_f64() / one.median().as_secs_f64();
            let verdict = if ratio >= *at_least { "met" } else { "MISSED" };
            let _ =
                writeln!(text, "{of} : {against} = {ratio:.2} (target ≥ {at_least:.2}) {verdict}");
        }
    }
    text
}

fn plain(work: Work, results: &[Timings]) -> Table {
    let mut table = Table::new(COLUMNS);
    for timings in results {
        table.push(row(work, timings).into());
    }
    table
}

/// The same with a column for files a second.
fn with_files(work: Work, results: &[Timings]) -> Table {
    let [name, median, speed, range, spread] = COLUMNS;
    let mut table = Table::new([name, median, "files/s", speed, range, spread]);
    for timings in results {
        let [name, median, speed, range, spread] = row(work, timings);
        let files = work.files_per_s(timings.median());
        table.push(vec![name, median, files.to_string(), speed, range, spread]);
    }
    table
}

/// The same with a column for everybody's speed as a share of the bare wire's.
fn with_share_of(wire: &Timings, work: Work, results: &[Timings]) -> Table {
    let [name, median, speed, range, spread] = COLUMNS;
    let mut table = Table::new([name, median, speed, "of the wire", range, spread]);
    for timings in results {
        let share = wire.median().as_secs_f64() / timings.median().as_secs_f64();
        let [name, median, speed, range, spread] = row(work, timings);
        table.push(vec![name, median, speed, format!("{:.0} %", share * 100.0), range, spread]);
    }
    table
}

fn round_count(results: &[Timings]) -> usize {
    results.first().map_or(0, Timings::count)
}

fn row(work: Work, timings: &Timings) -> [String; 5] {
    let (shortest, longest) = (timings.shortest(), timings.longest());
    let spread = (longest.as_secs_f64() - shortest.as_secs_f64()) / timings.median().as_secs_f64();
    [
        timings.name.into(),
        format!("{:.3}", timings.median().as_secs_f64()),
        format!("{:.0}", work.mib() / timings.median().as_secs_f64()),
        format!("{:.3}–{:.3}", shortest.as_secs_f64(), longest.as_secs_f64()),
        format!("{:.0} %", spread * 100.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_compared_with_the_bare_wire_where_it_was_measured() {
        let timings = |name, seconds| Timings::new(name, vec![Duration::from_secs(seconds)]);
        let wire = timings(Wire::NAME, 1);
        let text = render(Work::one_file(1 << 20), &[timings("towline", 4), wire], &[]);
        assert!(text.contains("of the wire") && text.contains(" 25 %"), "{text}");
        assert!(
            !render(Work::one_file(1 << 20), &[timings("towline", 4)], &[]).contains("of the wire")
        );
    }

    #[test]
    fn ratios_compare_speeds_and_tell_whether_they_suffice() {
        let timings = |name, seconds| Timings::new(name, vec![Duration::from_secs(seconds)]);
        let results = [timings("towline", 2), timings("peer", 6)];
        let target = |at_least| Target { of: "towline", against: "peer", at_least };
        let text = render(Work::one_file(600 << 20), &results, &[target(3.0), target(3.1)]);
        assert!(text.contains("towline     2.000    300"), "{text}");
        assert!(text.contains("towline : peer = 3.00 (target ≥ 3.00) met"), "{text}");
        assert!(text.contains("towline : peer = 3.00 (target ≥ 3.10) MISSED"), "{text}");
    }

    #[test]
    fn a_tree_has_files_a_second() {
        let timings = Timings::new("towline", vec![Duration::from_secs(4)]);
        let text = render(Work { files: 100, bytes: 1 << 20 }, &[timings], &[]);
        assert!(text.contains("files/s"), "{text}");
    }
}
