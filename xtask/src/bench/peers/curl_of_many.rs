//! curl in parallel from nginx, told each file's name beforehand.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Nginx, name_of};
use crate::bench::Bench;
use crate::bench::contestant::{Contestant, verify_and_remove};
use crate::bench::road::Road;
use crate::bench::server::Server;

/// `curl -Z` with a list of all files.
pub(in crate::bench) struct CurlOfMany {
    _servers: Vec<Server>,
    road: Road,
    /// What to fetch and where to, in curl's words.
    config: PathBuf,
    source: PathBuf,
    target: PathBuf,
}

impl CurlOfMany {
    pub(in crate::bench) fn from_nginx(bench: &Bench, source: &Path) -> Result<Self> {
        let nginx = Nginx::start(bench, source, 1, None)?;
        let root = format!("http://{}:{}/{}", bench.road.address(), nginx.port(), name_of(source));
        let target = bench.scratch.path().join("curled-in-parallel");
        let mut list = String::new();
        add_files(&mut list, source, &root, &target)?;
        let config = bench.scratch.path().join("curl.config");
        fs::write(&config, list)?;
        let (road, source) = (bench.road.clone(), source.into());
        Ok(Self { _servers: nginx.into_servers(), road, config, source, target })
    }
}

/// Adds all files of a folder: where each is to be had, and where it goes.
fn add_files(list: &mut String, folder: &Path, url: &str, target: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let (url, target) = (format!("{url}/{}", name_of(&path)), target.join(name_of(&path)));
        if path.is_dir() {
            add_files(list, &path, &url, &target)?;
        } else {
            writeln!(list, "url = \"{url}\"\noutput = \"{}\"", target.display())?;
        }
    }
    Ok(())
}

impl Contestant for CurlOfMany {
    fn name(&self) -> &'static str {
        "curl -Z from nginx"
    }

    fn command(&self) -> Command {
        let mut command = self.road.at_client("curl");
        command.args(["--silent", "--fail", "--create-dirs", "--parallel", "--config"]);
        command.arg(&self.config);
        command
    }

    fn conclude(&mut self) -> Result<()> {
        verify_and_remove(&self.target, &self.source)
    }
}
