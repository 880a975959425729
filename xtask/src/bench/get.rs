//! `towline get --plain` of one file from a `towline serve`, for every row set that has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use super::Bench;
use super::contestant::{Contestant, Durability, verify_and_remove};
use super::peers::name_of;
use super::server::{Server, free_port};
use super::system::Interruption;

/// Whether the server knows the pieces' hashes from earlier rounds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Kept,
    None,
}

/// The client and its server.
pub(super) struct Get {
    name: &'static str,
    program: PathBuf,
    source: PathBuf,
    folder: TempDir,
    /// Of the server that runs, or ran last.
    port: u16,
    memory: Memory,
    durability: Durability,
    server: Option<Server>,
    interruption: Interruption,
}

impl Get {
    /// One with a folder of its own; its server starts with the first round.
    pub(super) fn new(
        bench: &Bench,
        source: &Path,
        name: &'static str,
        memory: Memory,
        durability: Durability,
    ) -> Result<Self> {
        let folder = TempDir::with_prefix_in("get-", bench.scratch.path())?;
        Ok(Self {
            name,
            program: bench.towline.clone(),
            source: source.into(),
            folder,
            port: 0,
            memory,
            durability,
            server: None,
            interruption: bench.interruption.clone(),
        })
    }

    fn start_server(&self) -> Result<Server> {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(self.source.parent().unwrap_or(Path::new(".")));
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--state-dir"]);
        command.arg(self.state());
        Server::start(&mut command, self.port, &self.folder.path().join("log"), &self.interruption)
    }

    fn received(&self) -> PathBuf {
        self.folder.path().join("received")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

impl Contestant for Get {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self) -> Result<()> {
        if self.server.is_none() {
            // Not sooner: what nobody uses now, another program may use a minute later.
            self.port = free_port()?;
            self.server = Some(self.start_server()?);
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["get", "--plain", "--quiet"]);
        if self.durability == Durability::NotSynced {
            command.arg("--no-sync");
        }
        command.arg(format!("127.0.0.1:{}/{}", self.port, name_of(&self.source)));
        command.arg("--output-path").arg(self.received());
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.received(), &self.source)?;
        if self.memory == Memory::None {
            self.server = None;
            fs::remove_dir_all(self.state())?;
        }
        Ok(())
    }
}
