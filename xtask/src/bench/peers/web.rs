//! curl, from web servers that send files well.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Certificate, Nginx, name_of};
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, Durability, then_synced, verify_and_remove};
use crate::bench::road::Road;
use crate::bench::server::{Server, free_port};

/// curl with one server.
pub(in crate::bench) struct Curl {
    name: &'static str,
    durability: Durability,
    _servers: Vec<Server>,
    road: Road,
    url: String,
    /// How it is told to verify the server.
    options: Vec<OsString>,
    source: PathBuf,
    target: PathBuf,
}

impl Curl {
    pub(in crate::bench) const NGINX: &str = "curl from nginx";
    pub(in crate::bench) const NGINX_SYNCED: &str = "curl from nginx, then sync -f";
    pub(in crate::bench) const NGINX_TLS: &str = "curl from nginx, TLS 1.3";
    pub(in crate::bench) const NGINX_TLS_AES_128: &str = "curl from nginx, TLS 1.3, AES-128";
    pub(in crate::bench) const CADDY: &str = "curl from caddy";

    /// From nginx, without encryption.
    pub(in crate::bench) fn from_nginx(bench: &Bench, source: &Path) -> Result<Self> {
        let nginx = Nginx::start(bench, source, 1, None)?;
        let port = nginx.port();
        Ok(Self::new(bench, Self::NGINX, nginx.into_servers(), port, source))
    }

    /// From nginx over TLS 1.3, with the cipher suite that both choose by themselves.
    pub(in crate::bench) fn from_nginx_over_tls(
        bench: &Bench,
        source: &Path,
        certificate: &Certificate,
    ) -> Result<Self> {
        let nginx = Nginx::start(bench, source, 1, Some(certificate))?;
        let port = nginx.port();
        let mut curl = Self::new(bench, Self::NGINX_TLS, nginx.into_servers(), port, source);
        curl.url.replace_range(.."http".len(), "https");
        curl.options = vec!["--tlsv1.3".into(), "--cacert".into()];
        curl.options.push(certificate.certificate().into());
        Ok(curl)
    }

    /// The same with the cipher suite that towline prefers.
    pub(in crate::bench) fn with_aes_128(self) -> Self {
        let mut options = self.options;
        options.extend(["--tls13-ciphers".into(), "TLS_AES_128_GCM_SHA256".into()]);
        Self { name: Self::NGINX_TLS_AES_128, options, ..self }
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
        command.arg(source.parent().unwrap_or(Path::new("/"))).env("HOME", &folder);
        let server = Server::start(&mut command, port, &folder.join("log"), &bench.interruption)?;
        Ok(Self::new(bench, Self::CADDY, vec![server], port, source))
    }

    /// What it fetches.
    #[cfg(target_os = "linux")]
    pub(in crate::bench) fn url(&self) -> &str {
        &self.url
    }

    fn new(
        bench: &Bench,
        name: &'static str,
        servers: Vec<Server>,
        port: u16,
        source: &Path,
    ) -> Self {
        let url = format!("http://{}:{port}/{}", bench.road.address(), name_of(source));
        let target = bench.scratch.path().join(format!("curled-{port}"));
        let (durability, road) = (Durability::NotSynced, bench.road.clone());
        let (options, source) = (Vec::new(), source.into());
        Self { name, durability, _servers: servers, road, url, options, source, target }
    }
}

impl Contestant for Curl {
    fn name(&self) -> &'static str {
        self.name
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("curl");
        command.args(["--silent", "--fail"]).args(&self.options);
        command.arg("--output").arg(&self.target).arg(&self.url);
        match self.durability {
            Durability::Durable => then_synced(&command, &self.target),
            Durability::NotSynced => command,
        }
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
