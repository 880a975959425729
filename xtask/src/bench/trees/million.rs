//! A million files: how long they take, and how much memory both ends take up at most.

use std::fmt::Write as _;
use std::fs::File;
use std::mem;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::forest::{Even, Forest};
use super::{PLAIN, TLS, set_up, title};
use crate::bench::contestant::Contestant;
use crate::bench::get::{Get, Manner, Protection};
use crate::bench::measure::Timings;
use crate::bench::peers::{self, Rsync};
use crate::bench::report::Work;
use crate::bench::server::{self, peak_memory};
use crate::bench::{Bench, system};
use crate::process::line;
use crate::table::Table;

const MILLION: Forest =
    Forest::Even(Even { folders: 2_000, files_in_each: 500, file_bytes: (0, 1_024) });

/// What either end of towline may take up, in bytes.
const MEMORY_MAX: u64 = 128 << 20;

/// How often the processes are looked at.
const POLL: Duration = Duration::from_millis(10);

/// What one contestant's rounds came to.
struct Outcome {
    name: &'static str,
    took: Vec<Duration>,
    /// Of all rounds, in bytes.
    client_peak: u64,
    server_peak: u64,
}

/// Runs everybody once a round, in turns, and prints the table.
pub(in crate::bench) fn measure(bench: &Bench) -> Result<()> {
    peers::install(&["rsync"])?;
    let (source, work) = set_up(bench, &MILLION)?;
    let get = |name, protection| {
        Get::new(bench, &source, name, Manner { protection, ..Manner::default() })
    };
    let mut contestants: [Box<dyn Contestant>; 3] = [
        Box::new(get(PLAIN, Protection::Plain)?),
        Box::new(get(TLS, Protection::Tls)?),
        Box::new(Rsync::start(bench, &source)?),
    ];
    let mut outcomes = contestants.each_ref().map(|contestant| Outcome {
        name: contestant.name(),
        took: Vec::new(),
        client_peak: 0,
        server_peak: 0,
    });
    for round in 1..=bench.rounds {
        for (contestant, outcome) in contestants.iter_mut().zip(&mut outcomes) {
            one_round(contestant.as_mut(), outcome, bench)
                .with_context(|| format!("measuring {}", outcome.name))?;
            eprintln!("round {round}: {}: {:.3?}", outcome.name, outcome.took.last());
        }
    }
    println!(
        "\n{}\n{}",
        title(work, "loopback, new, in memory, not synced"),
        system::machine(bench.scratch.path())
    );
    print!("{}", render(work, &mut outcomes));
    Ok(())
}

fn one_round(contestant: &mut dyn Contestant, outcome: &mut Outcome, bench: &Bench) -> Result<()> {
    contestant.prepare()?;
    let log = bench.scratch.path().join("timed.log");
    let output = File::create(&log)?;
    let mut command = contestant.command();
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let started = Instant::now();
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
    let status = loop {
        outcome.client_peak = outcome.client_peak.max(peak_memory(child.id()));
        outcome.server_peak = outcome.server_peak.max(contestant.server_peak());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Err(interrupted) = bench.interruption.check() {
            child.kill()?;
            child.wait()?;
            return Err(interrupted);
        }
        thread::sleep(POLL);
    };
    outcome.took.push(started.elapsed());
    bench.interruption.check()?;
    if !status.success() {
        bail!("`{}` failed: {status}\n{}", line(&command), server::tail(&log));
    }
    contestant.conclude()
}

fn render(work: Work, outcomes: &mut [Outcome]) -> String {
    let mut table =
        Table::new(["", "median s", "files/s", "client's peak MiB", "server's peak MiB"]);
    let mut verdicts = String::new();
    for outcome in outcomes {
        let peaks = [outcome.client_peak, outcome.server_peak];
        let median = Timings::new(outcome.name, mem::take(&mut outcome.took)).median();
        table.push(vec![
            outcome.name.into(),
            format!("{:.3}", median.as_secs_f64()),
            work.files_per_s(median).to_string(),
            (peaks[0] >> 20).to_string(),
            (peaks[1] >> 20).to_string(),
        ]);
        if [PLAIN, TLS].contains(&outcome.name) {
            let verdict =
                if peaks.iter().all(|peak| *peak <= MEMORY_MAX) { "met" } else { "MISSED" };
            let _ = writeln!(
                verdicts,
                "{}: peaks ≤ {} MiB at both ends {verdict}",
                outcome.name,
                MEMORY_MAX >> 20
            );
        }
    }
    format!("{table}\n{verdicts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_above_the_bound_at_either_end_is_told() {
        let work = Work { files: 1_000_000, bytes: 1 << 29 };
        let outcome = |name, server_peak| Outcome {
            name,
            took: vec![Duration::from_secs(4)],
            client_peak: 40 << 20,
            server_peak,
        };
        let text = render(work, &mut [outcome(PLAIN, 128 << 20), outcome(TLS, 129 << 20)]);
        assert!(text.contains(" 250000 "), "{text}");
        assert!(text.contains(&format!("{PLAIN}: peaks ≤ 128 MiB at both ends met")), "{text}");
        assert!(text.contains(&format!("{TLS}: peaks ≤ 128 MiB at both ends MISSED")), "{text}");
    }
}
