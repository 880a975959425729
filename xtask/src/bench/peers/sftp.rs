//! sftp with the cipher that is fastest where the processor has AES.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Sshd;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, verify_and_remove};
use crate::bench::road::Road;

/// sftp from an sshd of its own.
pub(in crate::bench) struct Sftp {
    sshd: Sshd,
    road: Road,
    source: PathBuf,
    target: PathBuf,
}

impl Sftp {
    pub(in crate::bench) const NAME: &str = "sftp, AES-GCM";

    pub(in crate::bench) fn start(bench: &Bench, source: &Path) -> Result<Self> {
        let target = bench.scratch.path().join("sftped");
        Ok(Self {
            sshd: Sshd::start(bench)?,
            road: bench.road.clone(),
            source: source.into(),
            target,
        })
    }
}

impl Contestant for Sftp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("sftp");
        self.sshd.log_in(&mut command, "-P");
        command.arg(format!("{}:{}", self.road.address(), self.source.display()));
        command.arg(&self.target);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
