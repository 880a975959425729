//! An sshd of its own, with keys of its own, for the programs that go through ssh.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::server::{Server, free_port};
use crate::process::run;

/// The server, and what its clients have to know.
pub(in crate::bench) struct Sshd {
    _server: Server,
    folder: PathBuf,
    port: u16,
}

impl Sshd {
    /// What everybody asks for: the fastest cipher where the processor has AES.
    const CIPHER: &str = "aes128-gcm@openssh.com";

    pub(in crate::bench) fn start(bench: &Bench) -> Result<Self> {
        let folder = bench.scratch.path().join("sshd");
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
        Ok(Self { _server: server, folder, port })
    }

    pub(in crate::bench) fn port(&self) -> u16 {
        self.port
    }

    /// Of the one user that it knows.
    pub(in crate::bench) fn key(&self) -> PathBuf {
        self.folder.join("user")
    }

    /// Adds to `ssh` or `sftp`, which name the port by different letters, how to log in.
    pub(in crate::bench) fn log_in(&self, command: &mut Command, port_flag: &str) {
        command.args(["-q", "-c", Self::CIPHER, port_flag, &self.port.to_string(), "-i"]);
        command.arg(self.key());
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    }
}
