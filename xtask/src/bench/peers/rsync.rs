//! rsync from its daemon, whole files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::name_of;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, Durability, Leftovers, verify, verify_and_remove};
use crate::bench::road::Road;
use crate::bench::server::{Server, free_port};

/// `rsync -aW` and the daemon that it asks.
pub(in crate::bench) struct Rsync {
    durability: Durability,
    leftovers: Leftovers,
    server: Server,
    road: Road,
    port: u16,
    source: PathBuf,
    target: PathBuf,
}

impl Rsync {
    pub(in crate::bench) const NAME: &str = "rsync from its daemon";
    pub(in crate::bench) const SYNCED: &str = "rsync --fsync from its daemon";

    pub(in crate::bench) fn start(bench: &Bench, source: &Path) -> Result<Self> {
        let port = free_port()?;
        let folder = bench.scratch.path().join(format!("rsync-{port}"));
        fs::create_dir(&folder)?;
        let config = folder.join("rsyncd.conf");
        let root = source.parent().unwrap_or(Path::new("/")).display();
        let text = "uid = root\ngid = root\nuse chroot = no\n";
        fs::write(&config, format!("{text}[files]\npath = {root}\nread only = yes\n"))?;
        let mut command = bench.road.at_server("rsync");
        command.args(["--daemon", "--no-detach"]);
        command.arg(format!("--address={}", bench.road.address()));
        command.arg(format!("--port={port}")).arg(format!("--config={}", config.display()));
        let server = Server::start(&mut command, port, &folder.join("log"), &bench.interruption)?;
        let target = bench.scratch.path().join("rsynced");
        let (durability, leftovers) = (Durability::NotSynced, Leftovers::Removed);
        let road = bench.road.clone();
        Ok(Self { durability, leftovers, server, road, port, source: source.into(), target })
    }

    /// The same, durable when it ends.
    pub(in crate::bench) fn synced(self) -> Self {
        Self { durability: Durability::Durable, ..self }
    }

    /// The same, with what it brought there already from the second round on.
    pub(in crate::bench) fn kept(self) -> Self {
        Self { leftovers: Leftovers::Kept, ..self }
    }
}

impl Contestant for Rsync {
    fn name(&self) -> &'static str {
        match self.durability {
            Durability::Durable => Self::SYNCED,
            Durability::NotSynced => Self::NAME,
        }
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("rsync");
        let (address, name) = (self.road.address(), name_of(&self.source));
        // With a slash, what is in a folder is meant and not the folder itself.
        let slash = if self.source.is_dir() { "/" } else { "" };
        let url = format!("rsync://{address}:{}/files/{name}{slash}", self.port);
        if self.durability == Durability::Durable {
            command.arg("--fsync");
        }
        command.arg("-aW").arg(url).arg(&self.target);
        command
    }

    fn server_peak(&self) -> u64 {
        self.server.peak_memory()
    }

    fn conclude(&mut self) -> Result<()> {
        match self.leftovers {
            Leftovers::Removed => verify_and_remove(&self.target, &self.source),
            Leftovers::Kept => verify(&self.target, &self.source),
        }
    }
}
