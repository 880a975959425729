//! The row sets of trees: many small files over loopback, new, on a disk, and there already; a million of
//! them; and a project's source code and photographs over a long link.

mod forest;
mod million;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use towline_testkit::link::Link;

use self::forest::{Even, Forest, Project};
use super::contestant::{Contestant, Durability, Leftovers};
use super::disk::{Settled, file_system};
use super::get::{Get, Manner, Protection};
use super::long::Distance;
use super::peers::{self, Copy, CurlOfMany, Rclone, Rsync, Sshd, Tar};
use super::report::{Target, Work};
use super::road::Road;
use super::{Bench, RowSet, SETTLE};

pub(super) use self::million::measure as measure_million;

const PLAIN: &str = "towline get -r --plain";
const TLS: &str = "towline get -r";
const DURABLE: &str = "towline get -r --plain, durable";

const NEW: Forest =
    Forest::Even(Even { folders: 200, files_in_each: 100, file_bytes: (4_096, 4_096) });

const AGAIN: Forest =
    Forest::Even(Even { folders: 1_000, files_in_each: 100, file_bytes: (100, 100) });

const SOURCE_CODE: Forest = Forest::Project(Project { files: 6_000, archives: 3 });

const PHOTOGRAPHS: Forest =
    Forest::Even(Even { folders: 4, files_in_each: 12, file_bytes: (2 << 20, 8 << 20) });

/// A new tree in memory, not synced.
pub(super) fn in_memory(bench: &Bench) -> Result<RowSet> {
    peers::install(&["rsync", "ssh", "sshd", "rclone", "nginx", "curl"])?;
    let (source, work) = set_up(bench, &NEW)?;
    let get = |name, protection| {
        Get::new(bench, &source, name, Manner { protection, ..Manner::default() })
    };
    let target = |against, at_least| Target { of: PLAIN, against, at_least };
    let sshd = Arc::new(Sshd::start(bench)?);
    Ok(RowSet {
        title: title(work, "loopback, new, in memory, not synced, verified"),
        work,
        contestants: vec![
            Box::new(get(PLAIN, Protection::Plain)?),
            Box::new(get(TLS, Protection::Tls)?),
            Box::new(Rsync::start(bench, &source)?),
            Box::new(Copy::new(bench, &source)),
            Box::new(Tar::over(&sshd, bench, &source)),
            Box::new(Rclone::over(&sshd, bench, &source)),
            Box::new(CurlOfMany::from_nginx(bench, &source)?),
        ],
        targets: vec![target(Rsync::NAME, 2.5), target(Copy::NAME, 1.5)],
    })
}

/// A new tree on a disk.
pub(super) fn on_disk(bench: &Bench) -> Result<RowSet> {
    peers::install(&["rsync", "ssh", "sshd", "rclone", "nginx", "curl"])?;
    let (source, work) = set_up(bench, &NEW)?;
    let sshd = Arc::new(Sshd::start(bench)?);
    let folder = bench.scratch.path();
    let get = |name, durability| {
        let manner = Manner { protection: Protection::Plain, durability, ..Manner::default() };
        Get::new(bench, &source, name, manner)
    };
    let contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(get(DURABLE, Durability::Durable)?),
        Box::new(Rsync::start(bench, &source)?.synced()),
        Box::new(Copy::new(bench, &source).then_synced()),
        Box::new(get(PLAIN, Durability::NotSynced)?),
        Box::new(Rsync::start(bench, &source)?),
        Box::new(Copy::new(bench, &source)),
        Box::new(Tar::over(&sshd, bench, &source)),
        Box::new(Rclone::over(&sshd, bench, &source)),
        Box::new(CurlOfMany::from_nginx(bench, &source)?),
    ];
    let settled = |inner| -> Box<dyn Contestant> {
        Box::new(Settled { inner, folder: folder.into(), source: source.clone() })
    };
    Ok(RowSet {
        title: title(
            work,
            &format!("loopback, new, on a disk ({}), verified", file_system(folder)),
        ),
        work,
        contestants: contestants.into_iter().map(settled).collect(),
        targets: vec![
            Target { of: DURABLE, against: Rsync::SYNCED, at_least: 1.0 },
            Target { of: PLAIN, against: Rsync::NAME, at_least: 1.0 },
        ],
    })
}

/// A tree that is there already: the first round, which does not count, brings it.
pub(super) fn again(bench: &Bench) -> Result<RowSet> {
    peers::install(&["rsync"])?;
    let (source, work) = set_up(bench, &AGAIN)?;
    let protection = Protection::Plain;
    let manner = Manner { protection, leftovers: Leftovers::Kept, ..Manner::default() };
    Ok(RowSet {
        title: title(work, "loopback, all of them there already, in memory"),
        work,
        contestants: vec![
            Box::new(Get::new(bench, &source, PLAIN, manner)?),
            Box::new(Rsync::start(bench, &source)?.kept()),
        ],
        targets: vec![Target { of: PLAIN, against: Rsync::NAME, at_least: 1.0 }],
    })
}

/// Trees over a long link: one of many small files, and one of files that come by pieces.
pub(super) fn measure_over_a_link(bench: &Bench) -> Result<()> {
    if let Some(obstacle) = Link::obstacle() {
        bail!("{obstacle}");
    }
    peers::install(&["ip", "rsync", "nginx", "curl"])?;
    over_a_link(bench, "source code", &SOURCE_CODE, 3.0)?;
    over_a_link(bench, "photographs", &PHOTOGRAPHS, 10.0)
}

/// Over a link of its own: towline should be `at_least` so many times as fast as rsync.
fn over_a_link(bench: &Bench, what: &str, forest: &Forest, at_least: f64) -> Result<()> {
    let link = Link::up(&Distance::MIDDLE.options()).context("cannot make a link")?;
    let bench = Bench {
        towline: bench.towline.clone(),
        scratch: TempDir::new_in(bench.scratch.path())?,
        road: Road::Link(Arc::new(link)),
        file_bytes: bench.file_bytes,
        rounds: bench.rounds,
        interruption: bench.interruption.clone(),
    };
    let (source, work) = set_up(&bench, forest)?;
    RowSet {
        title: title(work, &format!("{what}, new, {}, not synced", Distance::MIDDLE)),
        work,
        contestants: vec![
            Box::new(Get::new(&bench, &source, TLS, Manner::default())?),
            Box::new(CurlOfMany::from_nginx(&bench, &source)?),
            Box::new(Rsync::start(&bench, &source)?),
        ],
        targets: vec![Target { of: TLS, against: Rsync::NAME, at_least }],
    }
    .measure(&bench)
}

fn title(work: Work, how: &str) -> String {
    format!("a tree of {} files, {:.1} MiB, {how}", work.files, work.mib())
}

/// Makes the tree, and lets its times grow old enough to be trusted.
fn set_up(bench: &Bench, forest: &Forest) -> Result<(PathBuf, Work)> {
    let source = bench.scratch.path().join("served/tree");
    let work = forest.plant(&source, &bench.interruption)?;
    thread::sleep(SETTLE);
    Ok((source, work))
}
