//! The `towline` command: reads its arguments, runs one subcommand, exits with one documented code.

mod args;
mod cmd;
mod exit;
mod identity;
mod logging;
mod options;
mod output;
mod progress;
mod signals;
mod trust;
mod url;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    match cmd::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            failure.exit.into()
        }
    }
}
