//! The subcommands.

pub(crate) mod client;
pub(crate) mod demo;
pub(crate) mod get;
pub(crate) mod hash;
pub(crate) mod pins;
pub(crate) mod serve;
pub(crate) mod server;

use std::future::Future;

use anyhow::Context;
use tokio::runtime::Builder;

use crate::args::{Cli, Command};
use crate::exit::Failure;

/// Runs the subcommand that was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Server(args) => server::run(args),
        Command::Client(args) => client::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Get(args) => get::run(&args),
        Command::Pins(args) => pins::run(args),
        Command::Hash(args) => hash::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// Runs asynchronous work to its end. What still hashes or syncs for nobody is not waited for.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
