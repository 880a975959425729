//! The command line: subcommands, and the flags that several of them share. Each command's own flags stand
//! beside what they do, in `cmd`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::cmd::{client, demo, get, hash, pins, serve, server};
use crate::exit::CODES;

/// Moves files between machines: verified to the last byte, whatever the network does.
#[derive(Debug, Parser)]
#[command(name = "towline", version, after_help = CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve ./server_files with the classic defaults: port 9999, logs in ./logs
    Server(server::Args),
    /// Fetch a file into ./client_downloads by the classic protocol
    Client(client::Args),
    /// Serve a folder
    Serve(serve::Args),
    /// Fetch a file, verified piece by piece and resumable
    Get(get::Args),
    /// List and forget the servers that are known
    Pins(pins::Args),
    /// Print the BLAKE3 and MD5 of files and folders
    Hash(hash::Args),
    /// Show the whole system at work on this machine, without touching your files
    Demo(demo::Args),
}

/// What every client command prints, and where.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Log details; twice for everything
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print one JSON object per event on standard output instead
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a log is kept, for commands that keep none unless told.
#[derive(Args, Debug)]
pub(crate) struct LogDirArgs {
    /// Keep a log in this folder
    #[arg(long, value_name = "DIR", env = "TOWLINE_LOG_DIR")]
    pub(crate) log_dir: Option<PathBuf>,
}
