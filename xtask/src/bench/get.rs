//! `towline get` of a file or a tree from a `towline serve`, for every row set that has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use super::Bench;
use super::contestant::{Contestant, Durability, Leftovers, verify, verify_and_remove};
use super::peers::name_of;
use super::road::Road;
use super::server::{Server, free_port};
use super::system::Interruption;

/// How the client names the server's key, in its own command line and in the one that a server advises.
const PIN_FLAG: &str = "--pin";

/// How a file is fetched. By default as the programs do it by themselves, save that nothing is synced.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner {
    pub(super) protection: Protection,
    pub(super) memory: Memory,
    pub(super) durability: Durability,
    pub(super) congestion: Congestion,
    pub(super) leftovers: Leftovers,
}

/// What the connections are protected by.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Protection {
    /// TLS 1.3, with the server known by its pin.
    #[default]
    Tls,
    Plain,
}

/// Whether the server knows the pieces' hashes from earlier rounds.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Memory {
    #[default]
    Kept,
    None,
}

/// Who chooses the congestion control of the server's sockets.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Congestion {
    /// The server, by the path.
    #[default]
    Auto,
    /// The system that it runs on.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "for links, which Linux has"))]
    System,
}

/// The client and its server.
pub(super) struct Get {
    name: &'static str,
    manner: Manner,
    program: PathBuf,
    road: Road,
    source: PathBuf,
    /// What the server and the client keep between runs.
    folder: TempDir,
    received: PathBuf,
    server: Option<Running>,
    interruption: Interruption,
}

/// A server that runs, and what a client has to know of it.
struct Running {
    server: Server,
    port: u16,
    /// Of its key, where that is asked for.
    pin: Option<String>,
}

impl Get {
    /// One with a folder of its own; its server starts with the first round.
    pub(super) fn new(
        bench: &Bench,
        source: &Path,
        name: &'static str,
        manner: Manner,
    ) -> Result<Self> {
        let folder = TempDir::with_prefix_in("get-", bench.scratch.path())?;
        // Beside that folder and not in it: what is half received lies where everybody's is.
        let received = bench.scratch.path().join(format!("got-{}", name_of(folder.path())));
        Ok(Self {
            name,
            manner,
            program: bench.towline.clone(),
            road: bench.road.clone(),
            source: source.into(),
            folder,
            received,
            server: None,
            interruption: bench.interruption.clone(),
        })
    }

    fn start_server(&self) -> Result<Running> {
        // Not sooner: what nobody uses now, another program may use a minute later.
        let port = free_port()?;
        let mut command = self.road.at_server(&self.program.to_string_lossy());
        command.arg("serve").arg(self.source.parent().unwrap_or(Path::new(".")));
        command.args(["--port", &port.to_string()]);
        command.args(["--bind", &self.road.address().to_string()]);
        command.arg("--state-dir").arg(self.server_state());
        if self.manner.congestion == Congestion::System {
            command.args(["--congestion", "system"]);
        }
        let log = self.folder.path().join("log");
        let server = Server::start(&mut command, port, &log, &self.interruption)?;
        let pin = match self.manner.protection {
            Protection::Tls => Some(server.told(pin_in, "its pin", &self.interruption)?),
            Protection::Plain => None,
        };
        Ok(Running { server, port, pin })
    }

    fn server_state(&self) -> PathBuf {
        self.folder.path().join("server-state")
    }
}

impl Contestant for Get {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self) -> Result<()> {
        if self.server.is_none() {
            self.server = Some(self.start_server()?);
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let server = self.server.as_ref().expect("it was started when the round was prepared");
        let mut command = self.road.at_client(&self.program.to_string_lossy());
        command.args(["get", "--quiet"]);
        match &server.pin {
            Some(pin) => command.args([PIN_FLAG, pin]),
            None => command.arg("--plain"),
        };
        if self.manner.durability == Durability::NotSynced {
            command.arg("--no-sync");
        }
        if self.source.is_dir() {
            command.arg("--recursive");
        }
        command.arg(format!("{}:{}/{}", self.road.address(), server.port, name_of(&self.source)));
        command.arg("--output-path").arg(&self.received);
        // The servers that whoever runs this knows are neither asked nor added to.
        command.env("XDG_STATE_HOME", self.folder.path().join("client-state"));
        command
    }

    fn server_peak(&self) -> u64 {
        self.server.as_ref().map_or(0, |running| running.server.peak_memory())
    }

    fn conclude(&mut self) -> Result<()> {
        match self.manner.leftovers {
            Leftovers::Removed => verify_and_remove(&self.received, &self.source)?,
            Leftovers::Kept => verify(&self.received, &self.source)?,
        }
        if self.manner.memory == Memory::None {
            self.server = None;
            fs::remove_dir_all(self.server_state())?;
        }
        Ok(())
    }
}

/// The pin in a server's advice on how to fetch from it, wherever in its log that is.
fn pin_in(log: &str) -> Option<String> {
    const PREFIX: &str = "sha256:";
    const HEX_DIGITS: usize = 64;
    let mut words = log.split_whitespace();
    words.find(|word| *word == PIN_FLAG)?;
    let pin = words.next()?;
    let hex = pin.strip_prefix(PREFIX)?;
    let is_whole = hex.len() == HEX_DIGITS && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_whole.then(|| pin.to_owned())
}

#[cfg(test)]
mod tests {
    use super::pin_in;

    #[test]
    fn the_pin_is_read_from_the_advice_once_it_is_written_whole() {
        let pin = format!("sha256:{}", "0f".repeat(32));
        let log = format!(
            "12:00:00 INFO listening on 127.0.0.1:9999\n\
             12:00:00 INFO to fetch from it: towline get --pin {pin} 127.0.0.1:9999/FILE\n"
        );
        assert_eq!(pin_in(&log), Some(pin.clone()));
        for unfinished in ["", "INFO listening", "get --pin", "get --pin sha256:0f"] {
            assert_eq!(pin_in(unfinished), None, "{unfinished}");
        }
        assert_eq!(pin_in(&log.replace("sha256", "md5")), None);
    }
}
