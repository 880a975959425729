//! tar at both ends of ssh, as trees are often copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use super::Sshd;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, verify_and_remove};
use crate::bench::road::Road;

/// `ssh HOST tar -c | tar -x`.
pub(in crate::bench) struct Tar {
    sshd: Arc<Sshd>,
    road: Road,
    source: PathBuf,
    target: PathBuf,
}

impl Tar {
    pub(in crate::bench) fn over(sshd: &Arc<Sshd>, bench: &Bench, source: &Path) -> Self {
        let target = bench.scratch.path().join("untarred");
        Self { sshd: Arc::clone(sshd), road: bench.road.clone(), source: source.into(), target }
    }
}

impl Contestant for Tar {
    fn name(&self) -> &'static str {
        "tar over ssh, AES-GCM"
    }

    fn prepare(&mut self) -> Result<()> {
        Ok(fs::create_dir(&self.target)?)
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("bash");
        let pipe = "target=$1; shift; set -o pipefail; \"$@\" | tar -xf - -C \"$target\"";
        command.args(["-c", pipe, "bash"]).arg(&self.target).arg("ssh");
        self.sshd.log_in(&mut command, "-p");
        command.arg(self.road.address().to_string());
        command.args(["tar", "-cf", "-", "-C"]).arg(&self.source).arg(".");
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
