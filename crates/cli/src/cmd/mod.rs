//! The command line and its subcommands.

mod client;
mod config;
mod demo;
mod get;
mod hash;
mod login;
mod logout;
mod ls;
mod passwd;
mod pins;
mod serve;
mod server;
mod token;

use std::future::Future;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

use crate::exit::{CODES, Failure};

/// Moves files between machines: verified to the last byte, whatever the network does.
#[derive(Debug, Parser)]
#[command(name = "towline", version, after_help = CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve ./server_files with the classic defaults: port 9999, logs in ./logs
    Server(server::Args),
    /// Fetch a file into ./client_downloads by the classic protocol
    Client(client::Args),
    /// Serve a folder
    Serve(serve::Args),
    /// Fetch files and folders, verified piece by piece and resumable
    Get(get::Args),
    /// List what is in a folder on a server
    Ls(ls::Args),
    /// List and forget the servers that are known
    Pins(pins::Args),
    /// Log in to a server: what proves who you are is kept for the next commands
    Login(login::Args),
    /// Forget the login of a server
    Logout(logout::Args),
    /// Check and show a server's configuration
    Config(config::Args),
    /// Make, list and revoke tokens, on the server's machine
    Token(token::Args),
    /// Set a user's password, on the server's machine
    Passwd(passwd::Args),
    /// Print the BLAKE3 and MD5 of files and folders
    Hash(hash::Args),
    /// Show the whole system at work on this machine, without touching your files
    Demo(demo::Args),
}

/// Runs the subcommand that was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Server(args) => server::run(args),
        Command::Client(args) => client::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Pins(args) => pins::run(args),
        Command::Login(args) => login::run(&args),
        Command::Logout(args) => logout::run(&args),
        Command::Config(args) => config::run(args),
        Command::Token(args) => token::run(args),
        Command::Passwd(args) => passwd::run(&args),
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
