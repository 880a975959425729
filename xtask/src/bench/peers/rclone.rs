//! rclone over sftp, as it is used between machines of one's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use super::Sshd;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, verify_and_remove};
use crate::bench::road::Road;

/// `rclone copy`, with the number of transfers that is advised for small files.
pub(in crate::bench) struct Rclone {
    sshd: Arc<Sshd>,
    road: Road,
    source: PathBuf,
    target: PathBuf,
}

impl Rclone {
    const TRANSFERS: u32 = 16;

    pub(in crate::bench) fn over(sshd: &Arc<Sshd>, bench: &Bench, source: &Path) -> Self {
        let target = bench.scratch.path().join("rcloned");
        Self { sshd: Arc::clone(sshd), road: bench.road.clone(), source: source.into(), target }
    }
}

impl Contestant for Rclone {
    fn name(&self) -> &'static str {
        "rclone over sftp, 16 transfers"
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("rclone");
        command.args(["copy", "--config", "", "--transfers", &Self::TRANSFERS.to_string()]);
        // It would start a program at the server for every file that it verifies.
        command.arg("--sftp-disable-hashcheck");
        command.args(["--sftp-host", &self.road.address().to_string()]);
        command.args(["--sftp-port", &self.sshd.port().to_string(), "--sftp-user", "root"]);
        command.arg("--sftp-key-file").arg(self.sshd.key());
        command.arg(format!(":sftp:{}", self.source.display())).arg(&self.target);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
