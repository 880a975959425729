//! Who takes part only here: towline with either congestion control, and TCP without a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use towline_testkit::link::Link;

use crate::bench::Bench;
use crate::bench::contestant::{Contestant, verify_and_remove};
use crate::bench::peers::name_of;
use crate::bench::road::Road;
use crate::bench::server::{Server, free_port};
use crate::bench::system::Interruption;

/// How the client is told to protect what it fetches.
const PROTECTION: &str = "--plain";

/// `towline get` from a `towline serve` whose sockets have a given congestion control.
pub(super) struct Get {
    name: &'static str,
    program: PathBuf,
    link: Arc<Link>,
    road: Road,
    source: PathBuf,
    /// The server's.
    folder: PathBuf,
    received: PathBuf,
    port: u16,
    server: Option<Server>,
    interruption: Interruption,
}

impl Get {
    pub(super) const BBR: &str = "towline, server on bbr";
    pub(super) const CUBIC: &str = "towline, server on cubic";

    pub(super) fn new(
        bench: &Bench,
        link: &Arc<Link>,
        source: &Path,
        name: &'static str,
    ) -> Result<Self> {
        let port = free_port()?;
        let folder = bench.scratch.path().join(format!("serve-{port}"));
        fs::create_dir(&folder)?;
        Ok(Self {
            name,
            program: bench.towline.clone(),
            link: Arc::clone(link),
            road: bench.road.clone(),
            source: source.into(),
            folder,
            received: bench.scratch.path().join(format!("got-{port}")),
            port,
            server: None,
            interruption: bench.interruption.clone(),
        })
    }

    fn congestion_control(&self) -> &'static str {
        if self.name == Self::BBR { "bbr" } else { "cubic" }
    }

    fn start_server(&self) -> Result<Server> {
        let mut command = self.road.at_server(&self.program.to_string_lossy());
        command.arg("serve").arg(self.source.parent().unwrap_or(Path::new(".")));
        command.args(["--port", &self.port.to_string()]);
        command.args(["--bind", &self.road.address().to_string(), "--state-dir"]);
        command.arg(self.folder.join("state"));
        Server::start(&mut command, self.port, &self.folder.join("log"), &self.interruption)
    }
}

impl Contestant for Get {
    fn name(&self) -> &'static str {
        self.name
    }

    /// A connection has the congestion control that is set when it is accepted.
    fn prepare(&mut self) -> Result<()> {
        // The last round's goes first: there is one port.
        self.server = None;
        self.link.far().set_congestion_control(self.congestion_control())?;
        self.server = Some(self.start_server()?);
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client(&self.program.to_string_lossy());
        command.args(["get", PROTECTION, "--no-sync", "--quiet"]);
        command.arg(format!("{}:{}/{}", self.road.address(), self.port, name_of(&self.source)));
        command.arg("--output-path").arg(&self.received);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        self.server = None;
        verify_and_remove(&self.received, &self.source)
    }
}

/// What TCP itself brings over the link: eight streams of iperf3 whose sender has BBR.
pub(super) struct BareTcp {
    _server: Server,
    road: Road,
    port: u16,
    lasts: Duration,
}

impl BareTcp {
    pub(super) const NAME: &str = "bare TCP, 8 × bbr";

    pub(super) fn start(bench: &Bench, lasts: Duration) -> Result<Self> {
        let port = free_port()?;
        let mut command = bench.road.at_server("iperf3");
        command.args(["-s", "-p", &port.to_string()]);
        let log = bench.scratch.path().join("iperf3.log");
        let server = Server::start(&mut command, port, &log, &bench.interruption)?;
        Ok(Self { _server: server, road: bench.road.clone(), port, lasts })
    }
}

impl Contestant for BareTcp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("iperf3");
        command.args(["--reverse", "--parallel", "8", "--congestion", "bbr", "--format", "k"]);
        command.args(["--time", &self.lasts.as_secs().to_string()]);
        command.args(["--port", &self.port.to_string()]);
        command.args(["--client", &self.road.address().to_string()]);
        command
    }
}

/// The rate at which iperf3 says it received, in bytes per second.
pub(super) fn told_by_iperf3(log: &str) -> Option<f64> {
    let line = log.lines().rfind(|line| line.starts_with("[SUM]") && line.ends_with("receiver"))?;
    let words: Vec<_> = line.split_whitespace().collect();
    let unit = words.iter().position(|word| *word == "Kbits/sec")?;
    let kbits_per_s: f64 = words.get(unit.checked_sub(1)?)?.parse().ok()?;
    Some(kbits_per_s * 125.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_sum_of_iperf3_counts() {
        let log = "[  5]   0.00-5.05   sec  90000 KBytes  100000 Kbits/sec                  receiver\n\
                   [SUM]   0.00-5.10   sec  190000 KBytes  300000 Kbits/sec  12             sender\n\
                   [SUM]   0.00-5.05   sec  180000 KBytes  290000 Kbits/sec                  receiver\n\
                   \niperf Done.\n";
        assert_eq!(told_by_iperf3(log), Some(36_250_000.0));
        assert_eq!(told_by_iperf3("iperf3: error - unable to connect\n"), None);
    }
}
