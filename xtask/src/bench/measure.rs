//! Rounds, timing and the statistics of it; who takes part is a row set's matter.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::contestant::Contestant;
use super::system::Interruption;
use super::{Bench, server, system};
use crate::process::line;

/// How often the end of a timed process is looked for: fine enough for runs of tenths of seconds, and
/// coarse enough to cost them nothing.
const POLL: Duration = Duration::from_millis(1);

/// What one contestant's rounds took.
pub(super) struct Timings {
    pub(super) name: &'static str,
    /// Sorted, at least one.
    rounds: Vec<Duration>,
}

impl Timings {
    pub(super) fn new(name: &'static str, mut rounds: Vec<Duration>) -> Self {
        assert!(!rounds.is_empty(), "at least one round counts");
        rounds.sort();
        Self { name, rounds }
    }

    pub(super) fn count(&self) -> usize {
        self.rounds.len()
    }

    /// The middle one, or the mean of the middle two.
    pub(super) fn median(&self) -> Duration {
        let middle = self.rounds.len() / 2;
        match self.rounds.len() % 2 {
            0 => (self.rounds[middle - 1] + self.rounds[middle]) / 2,
            _ => self.rounds[middle],
        }
    }

    pub(super) fn shortest(&self) -> Duration {
        self.rounds[0]
    }

    pub(super) fn longest(&self) -> Duration {
        self.rounds[self.rounds.len() - 1]
    }
}

/// The middle one of sorted values, or the mean of the middle two; there is at least one.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// Runs everybody once a round, in turns.
///
/// One round more than asked for is run, and the first does not count: there servers compute what they
/// will remember, and programs are read into the page cache.
pub(super) fn interleaved(
    contestants: &mut [Box<dyn Contestant>],
    bench: &Bench,
) -> Result<Vec<Timings>> {
    let mut rounds = vec![Vec::new(); contestants.len()];
    for round in 0..=bench.rounds {
        for (contestant, rounds) in contestants.iter_mut().zip(&mut rounds) {
            let name = contestant.name();
            let took = one_round(contestant.as_mut(), bench)
                .with_context(|| format!("measuring {name}"))?;
            let counts = if round == 0 { "warm-up".into() } else { format!("round {round}") };
            eprintln!("{counts}: {name}: {:.3} s", took.as_secs_f64());
            if round > 0 {
                rounds.push(took);
            }
        }
    }
    let named = contestants.iter().zip(rounds);
    Ok(named.map(|(contestant, rounds)| Timings::new(contestant.name(), rounds)).collect())
}

fn one_round(contestant: &mut dyn Contestant, bench: &Bench) -> Result<Duration> {
    bench.interruption.check()?;
    contestant.prepare()?;
    // Whoever comes after one that writes nothing must not find colder memory than others.
    if bench.is_in_memory() {
        system::warm_memory(bench.scratch.path(), bench.file_bytes, &bench.interruption)?;
    }
    let log = bench.scratch.path().join("timed.log");
    let took = timed(&mut contestant.command(), &log, &bench.interruption)?;
    contestant.conclude()?;
    Ok(took)
}

/// How long `command` takes from its start to its end, which must be a success.
fn timed(command: &mut Command, log: &Path, interruption: &Interruption) -> Result<Duration> {
    let output = File::create(log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let started = Instant::now();
    let status = end_of(command, interruption)?;
    let took = started.elapsed();
    // A key that interrupts this run reaches its children too: then their failure is none.
    interruption.check()?;
    if !status.success() {
        bail!("`{}` failed: {status}\n{}", line(command), server::tail(log));
    }
    fs::remove_file(log)?;
    Ok(took)
}

fn end_of(command: &mut Command, interruption: &Interruption) -> Result<ExitStatus> {
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Err(interrupted) = interruption.check() {
            child.kill()?;
            child.wait()?;
            return Err(interrupted);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let seconds = |values: &[u64]| values.iter().map(|s| Duration::from_secs(*s)).collect();
        let odd = Timings::new("odd", seconds(&[9, 1, 5]));
        assert_eq!(odd.median(), Duration::from_secs(5));
        assert_eq!(
            (odd.shortest(), odd.longest()),
            (Duration::from_secs(1), Duration::from_secs(9))
        );
        assert_eq!(Timings::new("even", seconds(&[4, 1, 9, 2])).median(), Duration::from_secs(3));
        assert!((median(&[1.0, 5.0, 9.0]) - 5.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_failing_command_shows_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo last words; exit 3"]);
        let never = Interruption::default();
        let error = timed(&mut command, &folder.path().join("log"), &never).unwrap_err();
        assert!(error.to_string().contains("last words"), "{error}");
    }

    #[test]
    fn an_interruption_ends_the_command_that_runs() {
        let interrupted = Interruption::default();
        interrupted.raise();
        let started = Instant::now();
        assert!(end_of(Command::new("sleep").arg("60"), &interrupted).is_err());
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
