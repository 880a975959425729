//! rsync from its daemon, whole files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::name_of;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, Durability, verify_and_remove};
use crate::bench::server::{Server, free_port};

/// `rsync -aW` and the daemon that it asks.
pub(in crate::bench) struct Rsync {
    durability: Durability,
    _server: Server,
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
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        command.arg(format!("--port={port}")).arg(format!("--config={}", config.display()));
        let server = Server::start(&mut command, port, &folder.join("log"), &bench.interruption)?;
        let target = bench.scratch.path().join("rsynced");
        let durability = Durability::NotSynced;
        Ok(Self { durability, _server: server, port, source: source.into(), target })
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
        let mut command = Command::new("rsync");
        let url = format!("rsync://127.0.0.1:{}/files/{}", self.port, name_of(&self.source));
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
