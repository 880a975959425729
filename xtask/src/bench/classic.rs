//! The row set of the classic protocol: one large file over loopback, with the MD5 remembered and without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::Result;

use super::contestant::{Contestant, verify_and_remove};
use super::peers::{Copy, OpensslMd5, PythonPair, name_of};
use super::report::{Target, Work};
use super::server::{Server, free_port};
use super::{Bench, RowSet, SETTLE, system};

const WARM: &str = "towline, MD5 remembered";
const COLD: &str = "towline, MD5 unknown";

/// Makes the file and starts the servers that last.
pub(super) fn set_up(bench: &Bench) -> Result<RowSet> {
    let source = system::served_file(bench.scratch.path(), bench.file_bytes, &bench.interruption)?;
    // The pair's second name for the file counts as a change, so it comes before the wait.
    let python = PythonPair::start(bench, &source)?;
    thread::sleep(SETTLE);

    Ok(RowSet {
        title: format!(
            "classic protocol, one file of {} MiB, loopback, verified",
            bench.file_bytes >> 20
        ),
        work: Work::one_file(bench.file_bytes),
        contestants: vec![
            Box::new(Towline::remembering(bench, &source)?),
            Box::new(Towline::forgetting(bench, &source)?),
            Box::new(python),
            Box::new(OpensslMd5 { source: source.clone() }),
            Box::new(Copy::new(bench, &source)),
        ],
        targets: vec![
            Target { of: WARM, against: OpensslMd5::NAME, at_least: 0.85 },
            Target { of: WARM, against: PythonPair::NAME, at_least: 3.0 },
        ],
    })
}

/// The program under test: `serve` on one side, `client` on the other.
struct Towline {
    name: &'static str,
    installation: Installation,
    memory: Memory,
}

/// What the server knows when a round begins.
enum Memory {
    /// One server for all rounds: after the first it knows the MD5.
    Kept { _server: Server },
    /// A server without a state for each round.
    Fresh { server: Option<Server> },
}

impl Towline {
    fn remembering(bench: &Bench, source: &Path) -> Result<Self> {
        let installation = Installation::new(bench, source, "remembering")?;
        let memory = Memory::Kept { _server: installation.start_server()? };
        Ok(Self { name: WARM, installation, memory })
    }

    fn forgetting(bench: &Bench, source: &Path) -> Result<Self> {
        let installation = Installation::new(bench, source, "forgetting")?;
        Ok(Self { name: COLD, installation, memory: Memory::Fresh { server: None } })
    }
}

impl Contestant for Towline {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self) -> Result<()> {
        if let Memory::Fresh { server } = &mut self.memory {
            *server = Some(self.installation.start_server()?);
        }
        Ok(())
    }

    fn command(&self) -> Command {
        self.installation.client()
    }

    fn conclude(&mut self) -> Result<()> {
        self.installation.verify_received()?;
        if let Memory::Fresh { server } = &mut self.memory {
            *server = None;
            self.installation.forget()?;
        }
        Ok(())
    }
}

/// A folder of its own with everything that a server and a client write.
struct Installation {
    program: PathBuf,
    source: PathBuf,
    folder: PathBuf,
    port: u16,
    interruption: system::Interruption,
}

impl Installation {
    fn new(bench: &Bench, source: &Path, name: &str) -> Result<Self> {
        let folder = bench.scratch.path().join(name);
        fs::create_dir(&folder)?;
        Ok(Self {
            program: bench.towline.clone(),
            source: source.into(),
            folder,
            port: free_port()?,
            interruption: bench.interruption.clone(),
        })
    }

    fn start_server(&self) -> Result<Server> {
        let served = self.source.parent().unwrap_or(Path::new("."));
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .arg(served)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--state-dir")
            .arg(self.state())
            .arg("--log-dir")
            .arg(self.logs())
            .current_dir(&self.folder);
        let log = self.folder.join("server.log");
        Server::start(&mut command, self.port, &log, &self.interruption)
    }

    fn client(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["client", name_of(&self.source), "127.0.0.1", &self.port.to_string()])
            .arg("--no-sync")
            .arg("--log-dir")
            .arg(self.logs())
            .current_dir(&self.folder);
        command
    }

    fn verify_received(&self) -> Result<()> {
        let received = self.folder.join("client_downloads").join(name_of(&self.source));
        verify_and_remove(&received, &self.source)
    }

    /// Removes what the server would remember.
    fn forget(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.state())?)
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }
}
