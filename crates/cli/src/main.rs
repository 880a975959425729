//! The `towline` command: reads its arguments, runs one subcommand, exits with one documented code.

mod acquaintance;
mod advice;
mod args;
mod cmd;
mod config;
mod exit;
mod filter;
mod identity;
mod logging;
mod logins;
mod options;
mod output;
mod progress;
mod secrets;
mod servers;
mod signals;
mod trust;
mod url;

use std::process::ExitCode;

use clap::Parser;

use crate::cmd::Cli;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| args::without_secrets(error).exit());
    match cmd::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            failure.exit.into()
        }
    }
}
