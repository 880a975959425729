//! Who takes part only here: TCP without a file.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::contestant::Contestant;
use crate::bench::road::Road;
use crate::bench::server::{Server, free_port};

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
