//! nginx, with sendfile and no log.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Certificate;
use crate::bench::Bench;
use crate::bench::server::{Server, free_port};

/// Processes of nginx that listen on one port.
pub(in crate::bench) struct Nginx {
    servers: Vec<Server>,
    port: u16,
}

impl Nginx {
    /// Serves the folder of `source`: over TLS 1.3 where there is a certificate, else plain.
    ///
    /// Each process has the port for itself and the kernel chooses between them, without a parent whose
    /// end would leave workers behind.
    pub(in crate::bench) fn start(
        bench: &Bench,
        source: &Path,
        processes: usize,
        certificate: Option<&Certificate>,
    ) -> Result<Self> {
        let port = free_port()?;
        let start_one = |number| start_one(bench, source, (port, number), certificate);
        let servers = (0..processes).map(start_one).collect::<Result<_>>()?;
        Ok(Self { servers, port })
    }

    pub(in crate::bench) fn port(&self) -> u16 {
        self.port
    }

    pub(in crate::bench) fn into_servers(self) -> Vec<Server> {
        self.servers
    }
}

/// One process, which has the port together with those of other numbers.
fn start_one(
    bench: &Bench,
    source: &Path,
    (port, number): (u16, usize),
    certificate: Option<&Certificate>,
) -> Result<Server> {
    let folder = bench.scratch.path().join(format!("nginx-{port}-{number}"));
    fs::create_dir(&folder)?;
    let (ssl, encryption) = match certificate {
        Some(own) => (
            "ssl",
            format!(
                "ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {};",
                own.certificate().display(),
                own.key().display()
            ),
        ),
        None => ("", String::new()),
    };
    let config = folder.join("nginx.conf");
    fs::write(
        &config,
        format!(
            "daemon off; master_process off; user root; pid {0}/pid; error_log {0}/error.log;
             events {{ worker_connections 1024; }}
             http {{
                 access_log off; sendfile on; tcp_nopush on; {encryption}
                 server {{ listen {1}:{port} {ssl} reuseport; root {2}; }}
             }}",
            folder.display(),
            bench.road.address(),
            source.parent().unwrap_or(Path::new("/")).display()
        ),
    )?;
    let mut command = bench.road.at_server("nginx");
    command.arg("-c").arg(&config).arg("-p").arg(&folder);
    Server::start(&mut command, port, &folder.join("log"), &bench.interruption)
}
