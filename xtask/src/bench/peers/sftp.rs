//! sftp with the cipher that is fastest where the processor has AES.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::contestant::{Contestant, verify_and_remove};
use crate::bench::road::Road;
use crate::bench::server::{Server, free_port};
use crate::process::run;

/// sftp and an sshd of its own, with keys of its own.
pub(in crate::bench) struct Sftp {
    _server: Server,
    road: Road,
    port: u16,
    folder: PathBuf,
    source: PathBuf,
    target: PathBuf,
}

impl Sftp {
    pub(in crate::bench) const NAME: &str = "sftp, AES-GCM";

    pub(in crate::bench) fn start(bench: &Bench, source: &Path) -> Result<Self> {
        let folder = bench.scratch.path().join("sftp");
        fs::create_dir(&folder)?;
        for key in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            run(&mut command)?;
        }
        fs::rename(folder.join("user.pub"), folder.join("authorized"))?;
        // Where sshd drops its privileges to; it does not start without.
        fs::create_dir_all("/run/sshd")?;
        let (port, config) = (free_port()?, folder.join("sshd_config"));
        fs::write(
            &config,
            format!(
                "ListenAddress {1}:{port}\nHostKey {0}/host\nPidFile {0}/pid\n\
                 AuthorizedKeysFile {0}/authorized\nStrictModes no\nPermitRootLogin yes\n\
                 UsePAM no\nSubsystem sftp internal-sftp\n",
                folder.display(),
                bench.road.address()
            ),
        )?;
        let mut command = bench.road.at_server("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(&config);
        let server = Server::start(&mut command, port, &folder.join("log"), &bench.interruption)?;
        let target = bench.scratch.path().join("sftped");
        let road = bench.road.clone();
        Ok(Self { _server: server, road, port, folder, source: source.into(), target })
    }
}

impl Contestant for Sftp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("sftp");
        command
            .args(["-q", "-c", "aes128-gcm@openssh.com", "-P", &self.port.to_string(), "-i"])
            .arg(self.folder.join("user"))
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .arg(format!("{}:{}", self.road.address(), self.source.display()))
            .arg(&self.target);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
