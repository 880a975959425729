//! curl, from web servers that send files well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::name_of;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, Durability, then_synced, verify_and_remove};
use crate::bench::road::Road;
use crate::bench::server::{Server, free_port};

/// curl with one server.
pub(in crate::bench) struct Curl {
    name: &'static str,
    durability: Durability,
    _server: Server,
    road: Road,
    url: String,
    source: PathBuf,
    target: PathBuf,
}

impl Curl {
    pub(in crate::bench) const NGINX: &str = "curl from nginx";
    pub(in crate::bench) const NGINX_SYNCED: &str = "curl from nginx, then sync -f";
    pub(in crate::bench) const CADDY: &str = "curl from caddy";

    /// nginx with sendfile and no log, in one process, so that ending it leaves no worker behind.
    pub(in crate::bench) fn from_nginx(bench: &Bench, source: &Path) -> Result<Self> {
        let (port, root) = (free_port()?, root_of(source).display());
        let folder = bench.scratch.path().join(format!("nginx-{port}"));
        fs::create_dir(&folder)?;
        let config = folder.join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off; master_process off; user root; pid {0}/pid; error_log {0}/error.log;
                 events {{ worker_connections 1024; }}
                 http {{
                     access_log off; sendfile on; tcp_nopush on;
                     server {{ listen {1}:{port}; root {root}; }}
                 }}",
                folder.display(),
                bench.road.address()
            ),
        )?;
        let mut command = bench.road.at_server("nginx");
        command.arg("-c").arg(&config).arg("-p").arg(&folder);
        let server = Server::start(&mut command, port, &folder.join("log"), &bench.interruption)?;
        Ok(Self::new(bench, Self::NGINX, server, port, source))
    }

    /// The same, durable when it ends.
    pub(in crate::bench) fn from_nginx_then_synced(bench: &Bench, source: &Path) -> Result<Self> {
        let plain = Self::from_nginx(bench, source)?;
        Ok(Self { name: Self::NGINX_SYNCED, durability: Durability::Durable, ..plain })
    }

    /// caddy's file server.
    pub(in crate::bench) fn from_caddy(bench: &Bench, source: &Path) -> Result<Self> {
        let folder = bench.scratch.path().join("caddy");
        fs::create_dir(&folder)?;
        let port = free_port()?;
        let listen = format!("{}:{port}", bench.road.address());
        let mut command = bench.road.at_server("caddy");
        command.args(["file-server", "--listen", &listen, "--root"]);
        command.arg(root_of(source)).env("HOME", &folder);
        let server = Server::start(&mut command, port, &folder.join("log"), &bench.interruption)?;
        Ok(Self::new(bench, Self::CADDY, server, port, source))
    }

    /// What it fetches.
    #[cfg(target_os = "linux")]
    pub(in crate::bench) fn url(&self) -> &str {
        &self.url
    }

    fn new(bench: &Bench, name: &'static str, server: Server, port: u16, source: &Path) -> Self {
        let url = format!("http://{}:{port}/{}", bench.road.address(), name_of(source));
        let target = bench.scratch.path().join(format!("curled-{port}"));
        let (durability, road) = (Durability::NotSynced, bench.road.clone());
        Self { name, durability, _server: server, road, url, source: source.into(), target }
    }
}

impl Contestant for Curl {
    fn name(&self) -> &'static str {
        self.name
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("curl");
        command.args(["--silent", "--fail", "--output"]).arg(&self.target).arg(&self.url);
        match self.durability {
            Durability::Durable => then_synced(&command, &self.target),
            Durability::NotSynced => command,
        }
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}

fn root_of(source: &Path) -> &Path {
    source.parent().unwrap_or(Path::new("/"))
}
