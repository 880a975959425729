//! The row set of the native protocol: one large file over loopback, in memory, not synced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::Result;

use super::contestant::{Contestant, verify_and_remove};
use super::limits::{Blake3, Wire};
use super::peers::{Copy, Curl, Rsync, Sftp, name_of};
use super::report::Target;
use super::server::{Server, free_port};
use super::{Bench, RowSet, SETTLE, system};
use crate::debian;

const WARM: &str = "towline, hashes known";
const COLD: &str = "towline, hashes unknown";

/// The peers' programs, and the packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("caddy", "caddy"),
    ("curl", "curl"),
    ("rsync", "rsync"),
    ("sftp", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// Makes the file and starts the servers.
pub(super) fn set_up(bench: &Bench) -> Result<RowSet> {
    debian::install_missing(PROGRAMS)?;
    let served = bench.scratch.path().join("served-native");
    fs::create_dir(&served)?;
    let source = served.join("file.bin");
    system::random_file(&source, bench.file_bytes, &bench.interruption)?;
    thread::sleep(SETTLE);
    let target = |against, at_least| Target { of: WARM, against, at_least };
    Ok(RowSet {
        title: format!(
            "native protocol, plain, one file of {} MiB, loopback, in memory, not synced, verified",
            bench.file_bytes >> 20
        ),
        bytes: bench.file_bytes,
        contestants: vec![
            Box::new(Get::start(bench, &source, Memory::Kept)?),
            Box::new(Get::start(bench, &source, Memory::None)?),
            Box::new(Curl::from_nginx(bench, &source)?),
            Box::new(Curl::from_caddy(bench, &source)?),
            Box::new(Rsync::start(bench, &source)?),
            Box::new(Sftp::start(bench, &source)?),
            Box::new(Copy::new(bench, &source)),
            Box::new(Wire::start(bench, &source)?),
            Box::new(Blake3 { source: source.clone() }),
        ],
        targets: vec![
            target(Curl::NGINX, 1.3),
            target(Curl::CADDY, 1.3),
            target(Rsync::NAME, 1.8),
            target(Sftp::NAME, 4.0),
            target(Copy::NAME, 1.0),
            Target { of: COLD, against: Curl::NGINX, at_least: 1.0 },
            Target { of: COLD, against: Curl::CADDY, at_least: 1.0 },
        ],
    })
}

/// Whether the server knows the pieces' hashes from earlier rounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Kept,
    None,
}

/// `towline get --plain --no-sync` from a `towline serve`.
struct Get {
    program: PathBuf,
    source: PathBuf,
    folder: PathBuf,
    port: u16,
    memory: Memory,
    server: Option<Server>,
    interruption: system::Interruption,
}

impl Get {
    fn start(bench: &Bench, source: &Path, memory: Memory) -> Result<Self> {
        let port = free_port()?;
        let folder = bench.scratch.path().join(format!("get-{port}"));
        fs::create_dir(&folder)?;
        Ok(Self {
            program: bench.towline.clone(),
            source: source.into(),
            folder,
            port,
            memory,
            server: None,
            interruption: bench.interruption.clone(),
        })
    }

    fn start_server(&self) -> Result<Server> {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(self.source.parent().unwrap_or(Path::new(".")));
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--state-dir"]);
        command.arg(self.folder.join("state"));
        Server::start(&mut command, self.port, &self.folder.join("log"), &self.interruption)
    }

    fn received(&self) -> PathBuf {
        self.folder.join("received")
    }
}

impl Contestant for Get {
    fn name(&self) -> &'static str {
        if self.memory == Memory::Kept { WARM } else { COLD }
    }

    fn prepare(&mut self) -> Result<()> {
        if self.server.is_none() {
            self.server = Some(self.start_server()?);
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["get", "--plain", "--no-sync", "--quiet"]);
        command.arg(format!("127.0.0.1:{}/{}", self.port, name_of(&self.source)));
        command.arg("--output-path").arg(self.received());
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.received(), &self.source)?;
        if self.memory == Memory::None {
            self.server = None;
            fs::remove_dir_all(self.folder.join("state"))?;
        }
        Ok(())
    }
}
