//! Programs that towline is compared with, each as it is used by those who use it.

#[cfg(target_os = "linux")]
mod aria2;
mod certificate;
#[cfg(target_os = "linux")]
mod curl_of_many;
mod nginx;
#[cfg(target_os = "linux")]
mod rclone;
mod rsync;
mod sftp;
mod sshd;
#[cfg(target_os = "linux")]
mod tar;
mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Bench;
use super::contestant::{Contestant, Durability, then_synced, verify_and_remove};
use super::server::{Server, free_port};
use crate::{debian, workspace_root};

#[cfg(target_os = "linux")]
pub(super) use self::aria2::Aria2;
pub(super) use self::certificate::Certificate;
#[cfg(target_os = "linux")]
pub(super) use self::curl_of_many::CurlOfMany;
pub(super) use self::nginx::Nginx;
#[cfg(target_os = "linux")]
pub(super) use self::rclone::Rclone;
pub(super) use self::rsync::Rsync;
pub(super) use self::sftp::Sftp;
pub(super) use self::sshd::Sshd;
#[cfg(target_os = "linux")]
pub(super) use self::tar::Tar;
pub(super) use self::web::Curl;

/// The peers' programs that may have to be installed, and the packages that have them.
const PACKAGES: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("caddy", "caddy"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("rsync", "rsync"),
    ("sftp", "openssh-client"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("rclone", "rclone"),
    ("ip", "iproute2"),
];

/// Installs those of `programs`, each among the `PACKAGES`, that are missing.
pub(super) fn install(programs: &[&str]) -> Result<()> {
    let wanted = PACKAGES.iter().filter(|(program, _)| programs.contains(program));
    debian::install_missing(&wanted.copied().collect::<Vec<_>>())
}

/// The server and the client as the classic system's document describes them, in Python.
pub(super) struct PythonPair {
    _server: Server,
    port: u16,
    folder: PathBuf,
    source: PathBuf,
}

impl PythonPair {
    pub(super) const NAME: &str = "Python pair";

    /// Starts the server on a second name of `source`, so that no byte is held twice.
    pub(super) fn start(bench: &Bench, source: &Path) -> Result<Self> {
        let folder = bench.scratch.path().join("python");
        let files = folder.join("server_files");
        fs::create_dir_all(&files)?;
        fs::hard_link(source, files.join(name_of(source)))?;

        let port = free_port()?;
        let mut command = script("server.py");
        command.arg(port.to_string()).current_dir(&folder);
        let log = folder.join("server.log");
        let server = Server::start(&mut command, port, &log, &bench.interruption)?;
        Ok(Self { _server: server, port, folder, source: source.into() })
    }
}

impl Contestant for PythonPair {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = script("client.py");
        command
            .args([name_of(&self.source), "127.0.0.1", &self.port.to_string()])
            .current_dir(&self.folder);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        let received = self.folder.join("client_downloads").join(name_of(&self.source));
        verify_and_remove(&received, &self.source)
    }
}

/// A program of those in Python, by its file name.
pub(super) fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(workspace_root().join("tests/peers").join(name));
    command
}

/// One core's MD5, which no program that speaks the classic protocol can outrun.
pub(super) struct OpensslMd5 {
    pub(super) source: PathBuf,
}

impl OpensslMd5 {
    pub(super) const NAME: &str = "openssl dgst -md5";
}

impl Contestant for OpensslMd5 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = Command::new("openssl");
        command.args(["dgst", "-md5"]).arg(&self.source);
        command
    }
}

/// The same bytes without a network or a hash, for scale.
pub(super) struct Copy {
    durability: Durability,
    source: PathBuf,
    target: PathBuf,
}

impl Copy {
    pub(super) const NAME: &str = "cp";
    pub(super) const SYNCED: &str = "cp, then sync -f";

    pub(super) fn new(bench: &Bench, source: &Path) -> Self {
        let target = bench.scratch.path().join("copied");
        Self { durability: Durability::NotSynced, source: source.into(), target }
    }

    /// The same, durable when it ends.
    pub(super) fn then_synced(self) -> Self {
        Self { durability: Durability::Durable, ..self }
    }
}

impl Contestant for Copy {
    fn name(&self) -> &'static str {
        match self.durability {
            Durability::Durable => Self::SYNCED,
            Durability::NotSynced => Self::NAME,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("cp");
        if self.source.is_dir() {
            command.arg("-r");
        }
        command.arg(&self.source).arg(&self.target);
        match self.durability {
            Durability::Durable => then_synced(&command, &self.target),
            Durability::NotSynced => command,
        }
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}

/// The last component of a path that this program made up itself.
pub(super) fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
