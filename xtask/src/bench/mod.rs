//! `cargo xtask bench`: towline and its peers side by side on this machine.
//!
//! The rules, the same for every row set: transfers are verified, rounds are interleaved so that a slow
//! minute hits everybody, medians count, two cores, and the congestion control that most hosts have; files
//! lie in memory, save in the row set of the disk. `measure` keeps them; a row set (`classic`) says who
//! takes part and what is aimed at.

mod classic;
mod contestant;
mod disk;
mod get;
mod handshakes;
mod limits;
#[cfg(target_os = "linux")]
mod long;
mod measure;
mod native;
mod peers;
mod report;
mod road;
mod server;
mod system;
mod tls;
#[cfg(target_os = "linux")]
mod trees;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::process::{cargo, run as run_command};
use crate::{target_dir, workspace_root};
use contestant::Contestant;
pub use limits::{COMMAND as LIMIT_COMMAND, Limit, run as run_limit};
use report::{Target, Work};
use road::Road;
use system::{CongestionControl, Interruption};

/// Memory as a file system, so that no disk is measured.
const SCRATCH: &str = "/dev/shm";

/// The server does not remember the hash of a file that changed a moment ago: it might change again
/// within the same tick of the file system's clock.
const SETTLE: Duration = Duration::from_secs(3);

/// What is measured, and how often.
#[derive(Args)]
pub struct Options {
    /// Row sets to measure; all of them by default
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Rows>,
    /// Size of the large file (K, M, G = 1024)
    #[arg(long, default_value = "1G", value_parser = parse_size)]
    size: u64,
    /// Rounds that count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Folder on a disk for the row set `disk` [default: where cargo builds]
    #[arg(long, value_name = "FOLDER")]
    disk_dir: Option<PathBuf>,
}

/// The row sets. Adding one is adding a file and a line here and in `Rows::measure`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// One large file by the classic protocol
    Classic,
    /// One large file by the native protocol, and by the programs that people use today
    Native,
    /// The same over TLS 1.3
    Tls,
    /// Handshakes of TLS 1.3, without a file
    Handshakes,
    /// The same file on a disk, durable and not
    Disk,
    /// A tree of many small files
    #[cfg(target_os = "linux")]
    Trees,
    /// The same tree on a disk, durable and not
    #[cfg(target_os = "linux")]
    TreesOnDisk,
    /// A larger tree that is there already
    #[cfg(target_os = "linux")]
    Rerun,
    /// A million files, with the memory that they take
    #[cfg(target_os = "linux")]
    Million,
    /// A project's source code, and photographs, over a long, lossy link; needs root
    #[cfg(target_os = "linux")]
    TreesLong,
    /// The same file over two long, lossy links; needs root
    #[cfg(target_os = "linux")]
    Long,
}

impl Rows {
    fn measure(self, bench: &Bench) -> Result<()> {
        match self {
            Self::Classic => classic::set_up(bench)?.measure(bench),
            Self::Native => native::set_up(bench)?.measure(bench),
            Self::Tls => tls::set_up(bench)?.measure(bench),
            Self::Handshakes => handshakes::measure(bench),
            Self::Disk => disk::set_up(bench)?.measure(bench),
            #[cfg(target_os = "linux")]
            Self::Trees => trees::in_memory(bench)?.measure(bench),
            #[cfg(target_os = "linux")]
            Self::TreesOnDisk => trees::on_disk(bench)?.measure(bench),
            #[cfg(target_os = "linux")]
            Self::Rerun => trees::again(bench)?.measure(bench),
            #[cfg(target_os = "linux")]
            Self::Million => trees::measure_million(bench),
            #[cfg(target_os = "linux")]
            Self::TreesLong => trees::measure_over_a_link(bench),
            #[cfg(target_os = "linux")]
            Self::Long => long::measure(bench),
        }
    }

    /// Where its files lie, or why it cannot be measured.
    fn folder(self, options: &Options) -> Result<PathBuf> {
        match self {
            Self::Disk => disk::folder(options.disk_dir.as_deref()),
            #[cfg(target_os = "linux")]
            Self::TreesOnDisk => disk::folder(options.disk_dir.as_deref()),
            _ => Ok(SCRATCH.into()),
        }
    }
}

/// Who is measured on the same work, and the ratios that matter.
struct RowSet {
    title: String,
    work: Work,
    contestants: Vec<Box<dyn Contestant>>,
    targets: Vec<Target>,
}

impl RowSet {
    fn measure(mut self, bench: &Bench) -> Result<()> {
        let results = measure::interleaved(&mut self.contestants, bench)?;
        println!("\n{}\n{}", self.title, system::machine(bench.scratch.path()));
        print!("{}", report::render(self.work, &results, &self.targets));
        Ok(())
    }
}

/// What a row set is measured with.
struct Bench {
    /// The program under test, built for release.
    towline: PathBuf,
    /// Removed at the end, whatever the end is.
    scratch: TempDir,
    /// What lies between the servers and their clients.
    road: Road,
    file_bytes: u64,
    rounds: u32,
    interruption: Interruption,
}

impl Bench {
    /// Whether what is measured is kept in memory.
    fn is_in_memory(&self) -> bool {
        self.scratch.path().starts_with(SCRATCH)
    }
}

/// Builds towline, measures the row sets and prints a table for each.
pub fn run(options: &Options) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the measurements need Linux: they read and set it under /proc and use {SCRATCH}");
    }
    let plan = plan(options)?;
    let interruption = Interruption::watch()?;
    run_command(cargo().args(["build", "--release", "--package", "towline"]))?;

    system::pin_to_two_cores()?;
    let _congestion_control = CongestionControl::usual();
    // The source, what is received, and what the programs themselves hold.
    let held_bytes = 3 * options.size;
    system::warm_memory(scratch_in(Path::new(SCRATCH))?.path(), held_bytes, &interruption)?;

    for (rows, folder) in plan {
        let bench = Bench {
            towline: workspace_root().join(target_dir()).join("release/towline"),
            scratch: scratch_in(&folder)?,
            road: Road::Loopback,
            file_bytes: options.size,
            rounds: options.rounds,
            interruption: interruption.clone(),
        };
        rows.measure(&bench)?;
    }
    Ok(())
}

/// The row sets with the folders of their files. What cannot be measured here is an error where it was
/// asked for by name, and is left out where everything is measured.
fn plan(options: &Options) -> Result<Vec<(Rows, PathBuf)>> {
    let everything = options.rows.is_empty();
    let rows = if everything { Rows::value_variants() } else { &options.rows };
    let mut plan = Vec::new();
    for &rows in rows {
        match rows.folder(options) {
            Ok(folder) => plan.push((rows, folder)),
            Err(reason) if everything => eprintln!("skipped: {reason:#}"),
            Err(reason) => return Err(reason),
        }
    }
    Ok(plan)
}

fn scratch_in(folder: &Path) -> Result<TempDir> {
    TempDir::with_prefix_in("towline-bench-", folder)
        .with_context(|| format!("cannot make a folder in {}", folder.display()))
}

/// A number of bytes with an optional K, M or G.
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a size such as 64M"))?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(format!("`{text}` is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_take_binary_units() {
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("3K"), Ok(3 << 10));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        for wrong in ["", "G", "0", "1T", "-1", "99999999999G", "1.5G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
