//! Rounds in which who is too slow is stopped, and what had come by then counts.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use towline_testkit::link::End;

use crate::bench::contestant::Contestant;
use crate::bench::measure::median;
use crate::bench::{Bench, server};
use crate::process::line;

/// How often the end of a timed process is looked for: nothing beside seconds.
const POLL: Duration = Duration::from_millis(5);

/// The size of a block in which the system says how much room a file takes up.
const BLOCK_BYTES: u64 = 512;

/// A MiB in bytes.
pub(super) const MIB: f64 = 1_048_576.0;

/// Who takes part, and how long.
pub(super) struct Entry {
    pub(super) contestant: Box<dyn Contestant>,
    pub(super) cut_after: Duration,
    pub(super) meter: Meter,
}

/// How it is known what came.
#[derive(Clone, Copy)]
pub(super) enum Meter {
    /// By the file when it ends, and by what new files take up when it is stopped.
    Files,
    /// By what the program says: bytes per second.
    Told(fn(&str) -> Option<f64>),
}

/// What one contestant reached.
pub(super) struct Rates {
    pub(super) name: &'static str,
    /// Bytes per second, sorted, at least one.
    pub(super) bytes_per_s: Vec<f64>,
    /// How long it was given, where it was stopped in any round.
    pub(super) cut_after: Option<Duration>,
}

impl Rates {
    pub(super) fn median(&self) -> f64 {
        median(&self.bytes_per_s)
    }
}

/// Runs everybody once a round, in turns.
pub(super) fn interleaved(entries: &mut [Entry], bench: &Bench, near: &End) -> Result<Vec<Rates>> {
    let mut results: Vec<_> = entries
        .iter()
        .map(|entry| Rates {
            name: entry.contestant.name(),
            bytes_per_s: Vec::new(),
            cut_after: None,
        })
        .collect();
    for round in 1..=bench.rounds {
        for (entry, rates) in entries.iter_mut().zip(&mut results) {
            let (bytes_per_s, is_cut) = one_round(entry, bench, near)
                .with_context(|| format!("measuring {}", rates.name))?;
            eprintln!("round {round}: {}: {:.2} MiB/s", rates.name, bytes_per_s / MIB);
            rates.bytes_per_s.push(bytes_per_s);
            rates.cut_after = rates.cut_after.or(is_cut.then_some(entry.cut_after));
        }
    }
    for rates in &mut results {
        rates.bytes_per_s.sort_by(f64::total_cmp);
    }
    Ok(results)
}

/// The rate in bytes per second, and whether it was stopped.
fn one_round(entry: &mut Entry, bench: &Bench, near: &End) -> Result<(f64, bool)> {
    bench.interruption.check()?;
    entry.contestant.prepare()?;
    let log = bench.scratch.path().join("timed.log");
    let output = File::create(&log)?;
    let before = names(bench.scratch.path())?;

    let mut command = entry.contestant.command();
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let started = Instant::now();
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
    let status = end_of(&mut child, started + entry.cut_after, bench)?;
    let took = started.elapsed().as_secs_f64();
    match status {
        Some(status) if !status.success() => {
            bail!("`{}` failed: {status}\n{}", line(&command), server::tail(&log));
        }
        Some(_) => {
            entry.contestant.conclude()?;
            let bytes_per_s = match entry.meter {
                Meter::Files => as_f64(bench.file_bytes) / took,
                Meter::Told(read) => read(&fs::read_to_string(&log)?)
                    .with_context(|| format!("no rate in:\n{}", server::tail(&log)))?,
            };
            Ok((bytes_per_s, false))
        }
        None => Ok((as_f64(cut_short(child, bench, near, &before)?) / took, true)),
    }
}

/// Ends the process and all that it has started; returns how many bytes had come in files that were not
/// there `before`, and removes those.
fn cut_short(
    mut child: Child,
    bench: &Bench,
    near: &End,
    before: &BTreeSet<OsString>,
) -> Result<u64> {
    let folder = bench.scratch.path();
    let arrived = (&names(folder)? - before).iter().map(|name| room(&folder.join(name))).sum();
    child.kill()?;
    child.wait()?;
    // Those that it has started would go on writing.
    near.end_processes();
    for name in &names(folder)? - before {
        fs::remove_file(folder.join(name))?;
    }
    Ok(arrived)
}

/// How the process ended, or `None` where it has not by the deadline.
fn end_of(child: &mut Child, deadline: Instant, bench: &Bench) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            // A key that interrupts this run reaches its children too.
            bench.interruption.check()?;
            return Ok(Some(status));
        }
        if let Err(interrupted) = bench.interruption.check() {
            child.kill()?;
            child.wait()?;
            return Err(interrupted);
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn names(folder: &Path) -> Result<BTreeSet<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// What a file takes up: a program may have made it longer than what has come.
fn room(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.blocks() * BLOCK_BYTES)
}

#[expect(clippy::cast_precision_loss, reason = "files are far smaller than 2^52 bytes")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_made_longer_than_what_came_counts_for_what_came() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("sparse");
        fs::write(&path, vec![1; 1 << 16]).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(room(&path), 1 << 16);
    }
}
