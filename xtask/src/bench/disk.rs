//! The row set of the native protocol on a disk: one large file over loopback, durable and not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use super::contestant::{Contestant, Durability};
use super::get::{Get, Manner, Protection};
use super::limits::{Blake3, Wire};
use super::peers::{self, Copy, Curl, Rsync};
use super::report::{Target, Work};
use super::{Bench, RowSet, SETTLE, system};
use crate::process::{answer, run};
use crate::{target_dir, workspace_root};

const DURABLE: &str = "towline, durable";
const NOT_SYNCED: &str = "towline --no-sync";

/// File systems that are no disk, as `stat` calls them.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// The folder to measure in, which must lie on a disk: the one that is named, or where cargo builds.
pub(super) fn folder(named: Option<&Path>) -> Result<PathBuf> {
    let folder = named.map_or_else(|| workspace_root().join(target_dir()), Path::to_owned);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let kind = file_system(&folder);
    ensure!(
        !IN_MEMORY.contains(&kind.as_str()),
        "{} lies in memory ({kind}); name a folder on a disk with --disk-dir",
        folder.display()
    );
    Ok(folder)
}

/// Makes the file and starts the servers.
pub(super) fn set_up(bench: &Bench) -> Result<RowSet> {
    peers::install(&["nginx", "curl", "rsync"])?;
    let folder = bench.scratch.path();
    let source = system::served_file(folder, bench.file_bytes, &bench.interruption)?;
    thread::sleep(SETTLE);
    let get = |name, durability| {
        let manner = Manner { protection: Protection::Plain, durability, ..Manner::default() };
        Get::new(bench, &source, name, manner)
    };
    let contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(get(DURABLE, Durability::Durable)?),
        Box::new(Curl::from_nginx_then_synced(bench, &source)?),
        Box::new(Rsync::start(bench, &source)?.synced()),
        Box::new(Copy::new(bench, &source).then_synced()),
        Box::new(get(NOT_SYNCED, Durability::NotSynced)?),
        Box::new(Curl::from_nginx(bench, &source)?),
        Box::new(Wire::start(bench, &source)?),
        Box::new(Blake3 { source: source.clone() }),
    ];
    let settled = |inner| -> Box<dyn Contestant> {
        Box::new(Settled { inner, folder: folder.into(), source: source.clone() })
    };
    Ok(RowSet {
        title: format!(
            "native protocol, plain, one file of {} MiB, loopback, on a disk ({}), verified",
            bench.file_bytes >> 20,
            file_system(folder)
        ),
        work: Work::one_file(bench.file_bytes),
        contestants: contestants.into_iter().map(settled).collect(),
        targets: vec![
            Target { of: DURABLE, against: Curl::NGINX_SYNCED, at_least: 1.0 },
            Target { of: DURABLE, against: Rsync::SYNCED, at_least: 1.0 },
        ],
    })
}

/// A contestant that finds nothing left to be written by the one before, and the source in the page cache.
pub(super) struct Settled {
    pub(super) inner: Box<dyn Contestant>,
    pub(super) folder: PathBuf,
    pub(super) source: PathBuf,
}

impl Contestant for Settled {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn prepare(&mut self) -> Result<()> {
        self.inner.prepare()?;
        run(Command::new("sync").arg("-f").arg(&self.folder))?;
        read_through(&self.source)
    }

    fn command(&self) -> Command {
        self.inner.command()
    }

    fn conclude(&mut self) -> Result<()> {
        self.inner.conclude()
    }
}

/// Brings a file, or all files of a folder, into the page cache.
fn read_through(path: &Path) -> Result<()> {
    if path.is_dir() {
        return fs::read_dir(path)?.try_for_each(|entry| read_through(&entry?.path()));
    }
    io::copy(&mut fs::File::open(path)?, &mut io::sink())?;
    Ok(())
}

/// The kind of file system that holds `folder`, as `stat` calls it.
pub(super) fn file_system(folder: &Path) -> String {
    let kind = answer(Command::new("stat").args(["-f", "-c", "%T"]).arg(folder));
    kind.map_or_else(|| "unknown".into(), |kind| kind.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_memory_is_refused() {
        let memory = Path::new(super::super::SCRATCH);
        if !IN_MEMORY.contains(&file_system(memory).as_str()) {
            println!("skipped: {} does not lie in memory here", memory.display());
            return;
        }
        let error = folder(Some(memory)).unwrap_err().to_string();
        assert!(error.contains("lies in memory") && error.contains("--disk-dir"), "{error}");
    }
}
