//! The row set of two long, lossy links: one large file, by towline and by what people use today.
//!
//! Who would take hours is stopped, and what had come by then counts. The other row sets' rules hold,
//! save that nothing is warmed up: a link is slower than anything that a first round could hide.

mod measure;
mod peers;
mod report;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use towline_testkit::link::{Link, LinkOptions};

use self::measure::{Entry, Meter};
use self::peers::BareTcp;
use super::contestant::Contestant;
use super::get::{Congestion, Get, Manner, Protection};
use super::peers::{Aria2, Curl, Rsync, Sftp};
use super::road::Road;
use super::{Bench, SETTLE, system};
use crate::debian;

/// As towline is used where nobody sets anything: over TLS, and its server chooses the congestion control.
const TLS: &str = "towline over TLS";
const PLAIN: &str = "towline, plain";
const SYSTEM: &str = "towline over TLS, --congestion system (cubic)";

/// Everybody but towline with the congestion control of its choice is stopped after this time.
const CUT_AFTER: Duration = Duration::from_secs(20);

/// How many times as long as at the link's rate the whole file may take.
const PATIENCE: f64 = 5.0;

/// The peers' programs, and the packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("rsync", "rsync"),
    ("sftp", "openssh-client"),
    ("sshd", "openssh-server"),
    ("aria2c", "aria2"),
    ("iperf3", "iperf3"),
];

/// A link to measure on, and the share of it that towline should fill.
pub(super) struct Distance {
    rate_mbit_per_s: u32,
    rtt_ms: u32,
    loss_ppm: u32,
    share_at_least: f64,
}

impl Distance {
    /// Across a continent.
    pub(super) const MIDDLE: Self =
        Self { rate_mbit_per_s: 500, rtt_ms: 50, loss_ppm: 1_000, share_at_least: 0.85 };

    /// Around half the world.
    const FAR: Self =
        Self { rate_mbit_per_s: 200, rtt_ms: 200, loss_ppm: 10_000, share_at_least: 0.75 };

    pub(super) fn options(&self) -> LinkOptions {
        LinkOptions {
            rtt: Duration::from_millis(self.rtt_ms.into()),
            rate_bits_per_s: u64::from(self.rate_mbit_per_s) * 1_000_000,
            loss_ppm: self.loss_ppm,
            ..LinkOptions::default()
        }
    }

    fn rate_bytes_per_s(&self) -> f64 {
        f64::from(self.rate_mbit_per_s) * 125_000.0
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss_percent = f64::from(self.loss_ppm) / 10_000.0;
        let Self { rate_mbit_per_s, rtt_ms, .. } = self;
        write!(f, "{rate_mbit_per_s} Mbit/s, {rtt_ms} ms RTT, {loss_percent} % loss")
    }
}

/// Measures on each link in turn, and prints a table for each.
pub(super) fn measure(bench: &Bench) -> Result<()> {
    if let Some(obstacle) = Link::obstacle() {
        bail!("{obstacle}");
    }
    debian::install_missing(PROGRAMS)?;
    let source = system::served_file(bench.scratch.path(), bench.file_bytes, &bench.interruption)?;
    thread::sleep(SETTLE);
    for distance in [Distance::MIDDLE, Distance::FAR] {
        measure_over(&distance, bench, &source)?;
    }
    Ok(())
}

fn measure_over(distance: &Distance, bench: &Bench, source: &Path) -> Result<()> {
    let link = Arc::new(Link::up(&distance.options()).context("cannot make a link")?);
    let bench = Bench {
        towline: bench.towline.clone(),
        scratch: TempDir::new_in(bench.scratch.path())?,
        road: Road::Link(Arc::clone(&link)),
        file_bytes: bench.file_bytes,
        rounds: bench.rounds,
        interruption: bench.interruption.clone(),
    };
    let mut entries = entries(distance, &bench, source)?;
    let results = measure::interleaved(&mut entries, &bench, link.near())?;
    println!(
        "\nnative protocol, one file of {} MiB over {distance}, not synced\n{}",
        bench.file_bytes >> 20,
        system::machine(bench.scratch.path())
    );
    print!("{}", report::render(&results, distance.rate_bytes_per_s()));
    print!("{}", report::verdict(&results, distance, TLS));
    println!("the link itself, over all rounds: {:?}", link.statistics().to_near);
    Ok(())
}

fn entries(distance: &Distance, bench: &Bench, source: &Path) -> Result<Vec<Entry>> {
    let file_bits = Duration::from_secs(8 * bench.file_bytes);
    let ideal = file_bits.div_f64(f64::from(distance.rate_mbit_per_s) * 1e6);
    let stopped = |contestant: Box<dyn Contestant>| Entry {
        contestant,
        cut_after: CUT_AFTER,
        meter: Meter::Files,
    };
    let towline = |name, manner| -> Result<Box<dyn Contestant>> {
        Ok(Box::new(Get::new(bench, source, name, manner)?))
    };
    let patient =
        |contestant| Entry { contestant, cut_after: ideal.mul_f64(PATIENCE), meter: Meter::Files };
    let plain = Manner { protection: Protection::Plain, ..Manner::default() };
    let system = Manner { congestion: Congestion::System, ..Manner::default() };
    let curl = Curl::from_nginx(bench, source)?;
    let aria2 = Aria2::beside(&curl, bench, source);
    Ok(vec![
        patient(towline(TLS, Manner::default())?),
        patient(towline(PLAIN, plain)?),
        stopped(towline(SYSTEM, system)?),
        stopped(Box::new(aria2)),
        stopped(Box::new(curl)),
        stopped(Box::new(Rsync::start(bench, source)?)),
        stopped(Box::new(Sftp::start(bench, source)?)),
        Entry {
            contestant: Box::new(BareTcp::start(bench, CUT_AFTER)?),
            cut_after: CUT_AFTER * 2,
            meter: Meter::Told(peers::told_by_iperf3),
        },
    ])
}
