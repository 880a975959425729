//! rsync from its daemon, whole files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::name_of;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, Durability, verify_and_remove};
use crate::bench::road::Road;
use crate::bench::server::{Server, free_port};

/// `rsync -aW` and the daemon that it asks.
pub(in crate::bench) struct Rsync {
    durability: Durability,
    _server: Server,
    road: Road,
    port: u16,
    source: PathBuf,
    target: PathBuf,
}

impl Rsync {
    pub(in crate::bench) const NAME: &str = "rsync from its daemon";
    pub(in crate::bench) const SYNCED: &str = "rsync --fsync from its daemon";

    pub(in crate::bench) fn start(bench: &Bench, source: &Path) -> Result<Self> {
        let folder = bench.scratch.path().join("rsync");
        fs::create_dir(&folder)?;
        let port = free_port()?;
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
        let (durability, road) = (Durability::NotSynced, bench.road.clone());
        Ok(Self { durability, _server: server, road, port, source: source.into(), target })
    }

    /// The same, durable when it ends.
    pub(in crate::bench) fn synced(self) -> Self {
        Self { durability: Durability::Durable, ..self }
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
        let url = format!("rsync://{address}:{}/files/{name}", self.port);
        if self.durability == Durability::Durable {
            command.arg("--fsync");
        }
        command.arg("-aW").arg(url).arg(&self.target);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
