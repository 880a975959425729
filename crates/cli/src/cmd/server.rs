//! `towline server [PORT]`: the classic server with the original classic system's folders.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use towline_proto::escape::EscapedPath;

use super::serve::{self, ListenArgs, ServeArgs};
use crate::config::File;
use crate::exit::{Exit, Failure};
use crate::options;
use crate::url::DEFAULT_PORT;

/// The classic server: creates ./server_files and ./logs and serves what is in the one, logging to the other.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// TCP port to listen on; 0 takes a free one
    #[arg(default_value_t = DEFAULT_PORT)]
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
        .with_context(|| format!("cannot make the folder {}", EscapedPath(&files_dir)))
        .map_err(|error| Failure::new(Exit::LocalDisk, error))?;
    // The original classic system's server has no configuration file.
    let listening = listen.clone();
    let configure = move || {
        let mut config = File { log_dir: Some(log_dir.clone()), ..File::default() };
        listen.overlay(Some(port), &mut config);
        serve::overlay_grace(Some(grace), &mut config);
        serve.overlay(&mut config);
        Ok(config)
    };
    serve::serve(Some(&files_dir), &listening, configure)
}
