//! `towline server [PORT]`: the classic server with the document's folders.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::serve::{self, ListenArgs, Place, ServeArgs};
use crate::exit::{Exit, Failure};
use crate::options;

/// The classic server: creates ./server_files and ./logs and serves what is in the one, logging to the other.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// TCP port to listen on; 0 takes a free one
    #[arg(default_value_t = serve::DEFAULT_PORT)]
    port: u16,
    /// Folder whose files are served; created if missing
    #[arg(long, value_name = "DIR", default_value = "server_files")]
    files_dir: PathBuf,
    /// Folder for this run's log; created if missing
    #[arg(long, value_name = "DIR", default_value = "logs")]
    log_dir: PathBuf,
    /// How long transfers may go on after Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = options::duration)]
    grace: Duration,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let Args { port, files_dir, log_dir, grace, listen, serve } = args;
    std::fs::create_dir_all(&files_dir)
        .with_context(|| format!("cannot make the folder {}", files_dir.display()))
        .map_err(|error| Failure::new(Exit::LocalDisk, error))?;
    let place = Place { root: &files_dir, port, log_dir: Some(&log_dir) };
    serve::serve(&place, &listen, serve, grace)
}
