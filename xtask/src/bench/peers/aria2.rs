//! aria2, which fetches one file over many connections, from nginx.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Curl;
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, verify_and_remove};
use crate::bench::road::Road;

/// aria2 with the most connections to one server that it has.
pub(in crate::bench) struct Aria2 {
    road: Road,
    url: String,
    source: PathBuf,
    target: PathBuf,
}

impl Aria2 {
    pub(in crate::bench) const NAME: &str = "aria2, 16 connections";

    /// From the server that `curl` fetches from, which must live as long.
    pub(in crate::bench) fn beside(curl: &Curl, bench: &Bench, source: &Path) -> Self {
        let target = bench.scratch.path().join("aria2ed");
        Self { road: bench.road.clone(), url: curl.url().into(), source: source.into(), target }
    }
}

impl Contestant for Aria2 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("aria2c");
        // Not allocated ahead: what the file takes up is what has come.
        command.args(["--quiet", "-x16", "-s16", "--file-allocation=none", "--dir=/"]);
        // It joins the two with a slash; the path is absolute already.
        let below_root = self.target.strip_prefix("/").unwrap_or(&self.target);
        command.arg(format!("--out={}", below_root.display())).arg(&self.url);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
