//! The row set of handshakes: how many a second `towline serve` and nginx get through.
//!
//! Both show the same certificate, and the same client asks both: Python's, which is OpenSSL's, verifies the
//! server and begins a new session each time, in several processes so that nobody waits for the network.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::measure::median;
use super::peers::{self, Certificate, Nginx, script};
use super::server::{Server, free_port, tail};
use super::{Bench, system};
use crate::process::line;
use crate::table::Table;

/// Processes that shake hands at the same time, one connection each.
const CLIENTS: usize = 4;

/// How long a round lasts.
const ROUND_S: u32 = 3;

/// As many processes of nginx as there are cores; towline is one process on all of them.
const NGINX_PROCESSES: usize = 2;

const POLL: Duration = Duration::from_millis(5);

/// A server that shakes hands.
struct Host {
    name: &'static str,
    /// As clients ask for it in the handshake (RFC 7301).
    protocol: &'static str,
    servers: Vec<Server>,
    port: u16,
    rounds: Vec<Round>,
}

/// What one round came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    handshakes_per_s: f64,
    /// What the server, and not the client, spent on one.
    server_us: f64,
}

/// Asks each server in turn, and prints the table.
pub(super) fn measure(bench: &Bench) -> Result<()> {
    peers::install(&["nginx", "openssl"])?;
    let certificate = Certificate::make(bench.scratch.path(), bench.road.address())?;
    let mut hosts = [towline(bench, &certificate)?, nginx(bench, &certificate)?];
    for round in 0..=bench.rounds {
        for host in &mut hosts {
            let name = host.name;
            let result = one_round(host, &certificate, bench);
            let result = result.with_context(|| format!("measuring {name}"))?;
            let counts = if round == 0 { "warm-up".into() } else { format!("round {round}") };
            eprintln!("{counts}: {name}: {:.0} handshakes/s", result.handshakes_per_s);
            if round > 0 {
                host.rounds.push(result);
            }
        }
    }
    println!(
        "\nfull handshakes of TLS 1.3 with a P-256 key, loopback, client and server together on two cores\n{}",
        system::machine(bench.scratch.path())
    );
    print!("{}", render(&hosts));
    Ok(())
}

fn towline(bench: &Bench, certificate: &Certificate) -> Result<Host> {
    let (folder, port) = (bench.scratch.path(), free_port()?);
    let mut command = bench.road.at_server(&bench.towline.to_string_lossy());
    // Quiet, because nginx logs no connections either.
    command.arg("serve").arg(folder).args(["--quiet", "--port", &port.to_string()]);
    command.args(["--bind", &bench.road.address().to_string(), "--state-dir"]);
    command.arg(folder.join("state")).arg("--tls-cert").arg(certificate.certificate());
    command.arg("--tls-key").arg(certificate.key());
    let server = Server::start(&mut command, port, &folder.join("log"), &bench.interruption)?;
    Ok(Host {
        name: "towline serve",
        protocol: "towline/1",
        servers: vec![server],
        port,
        rounds: Vec::new(),
    })
}

fn nginx(bench: &Bench, certificate: &Certificate) -> Result<Host> {
    let source = bench.scratch.path().join("any");
    let nginx = Nginx::start(bench, &source, NGINX_PROCESSES, Some(certificate))?;
    let port = nginx.port();
    Ok(Host {
        name: "nginx",
        protocol: "http/1.1",
        servers: nginx.into_servers(),
        port,
        rounds: Vec::new(),
    })
}

fn one_round(host: &Host, certificate: &Certificate, bench: &Bench) -> Result<Round> {
    bench.interruption.check()?;
    let core_times = || host.servers.iter().map(Server::core_time).collect::<Result<Vec<_>>>();
    let before = core_times()?;
    let started = Instant::now();
    let handshakes = shake(host, certificate, bench)?;
    let took = started.elapsed();
    let spent: Vec<_> =
        core_times()?.into_iter().zip(before).map(|(now, then)| now.saturating_sub(then)).collect();
    ensure!(spent.iter().all(|time| !time.is_zero()), "not all of its processes were asked");
    let spent: Duration = spent.iter().sum();
    Ok(Round {
        handshakes_per_s: f64::from(handshakes) / took.as_secs_f64(),
        server_us: spent.as_secs_f64() * 1e6 / f64::from(handshakes),
    })
}

/// How many handshakes all clients complete in a round.
fn shake(host: &Host, certificate: &Certificate, bench: &Bench) -> Result<u32> {
    let logs: Vec<_> =
        (0..CLIENTS).map(|number| bench.scratch.path().join(format!("client-{number}"))).collect();
    let start = |log| start_client(host, certificate, bench, log);
    let mut clients: Vec<_> = logs.iter().map(|log| start(log)).collect::<Result<_>>()?;
    let ended =
        clients.iter_mut().zip(&logs).try_for_each(|(client, log)| end_of(client, log, bench));
    if ended.is_err() {
        for client in &mut clients {
            // It fails only where the process has ended already.
            let _ = client.kill();
            let _ = client.wait();
        }
    }
    ended?;
    let mut handshakes = 0;
    for log in &logs {
        let text = fs::read_to_string(log)?;
        handshakes += told(&text).with_context(|| format!("no count in:\n{text}"))?;
    }
    ensure!(handshakes > 0, "no handshake succeeded");
    Ok(handshakes)
}

fn start_client(
    host: &Host,
    certificate: &Certificate,
    bench: &Bench,
    log: &Path,
) -> Result<Child> {
    let mut command = script("handshakes.py");
    command.args([&bench.road.address().to_string(), &host.port.to_string(), host.protocol]);
    command.arg(certificate.certificate()).arg(ROUND_S.to_string());
    let output = File::create(log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))
}

fn end_of(client: &mut Child, log: &Path, bench: &Bench) -> Result<()> {
    loop {
        bench.interruption.check()?;
        if let Some(status) = client.try_wait()? {
            ensure!(status.success(), "a client failed: {status}\n{}", tail(log));
            return Ok(());
        }
        thread::sleep(POLL);
    }
}

/// What a client says when its time is over.
fn told(log: &str) -> Option<u32> {
    log.lines().find_map(|line| line.strip_suffix(" handshakes")?.parse().ok())
}

fn render(hosts: &[Host]) -> String {
    let mut table = Table::new(["", "handshakes/s", "min–max", "server's core µs each"]);
    for host in hosts {
        let rates = sorted(host, |round| round.handshakes_per_s);
        let costs = sorted(host, |round| round.server_us);
        let (Some(least), Some(most)) = (rates.first(), rates.last()) else { continue };
        table.push(vec![
            host.name.into(),
            format!("{:.0}", median(&rates)),
            format!("{least:.0}–{most:.0}"),
            format!("{:.0}", median(&costs)),
        ]);
    }
    let rounds = hosts.first().map_or(0, |host| host.rounds.len());
    format!("{rounds} rounds\n\n{table}\n")
}

fn sorted(host: &Host, value: impl Fn(&Round) -> f64) -> Vec<f64> {
    let mut values: Vec<_> = host.rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_failed_has_counted_nothing() {
        assert_eq!(told("302 handshakes\n"), Some(302));
        assert_eq!(told("ssl.SSLError: 3 handshakes failed\n"), None);
    }

    #[test]
    fn medians_of_rates_and_costs_are_shown_for_each_server() {
        let round = |handshakes_per_s, server_us| Round { handshakes_per_s, server_us };
        let rounds = vec![round(900.0, 260.0), round(1_100.0, 240.0)];
        let text =
            render(&[Host { name: "server", protocol: "", servers: Vec::new(), port: 0, rounds }]);
        assert!(text.starts_with("2 rounds") && text.contains("900–1100"), "{text}");
        assert!(text.contains(" 1000 ") && text.contains(" 250"), "{text}");
    }
}
