//! `towline config`: is a server's configuration good, and what does it come to?

use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, ensure};
use clap::Subcommand;
use towline_net::tls::identity::Identity;
use towline_net::tls::server::Acceptor;
use towline_proto::escape::EscapedPath;
use towline_server::config::Served;

use super::serve;
use crate::config;
use crate::exit::Failure;
use crate::identity::ShownIdentity;
use crate::output;

/// Checks and shows what `towline serve` would do, without doing it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with the configuration, if anything is
    Check(serve::Args),
    /// Print the configuration that holds: the file's, with flags and variables over it
    Show(serve::Args),
    /// Print a configuration with every key explained
    Example,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Check(args) => Ok(check(&args)?),
        Command::Show(args) => {
            let config = args.effective(args.file()?.as_deref())?;
            print(&config.to_toml().map_err(|error| anyhow!(error))?);
            Ok(())
        }
        Command::Example => {
            print(config::EXAMPLE);
            Ok(())
        }
    }
}

/// Prints; a closed pipe is not an error.
fn print(text: &str) {
    let _ = output::line(text.trim_end());
}

fn check(args: &serve::Args) -> anyhow::Result<()> {
    let file = args.file()?;
    let config = args.effective(file.as_deref())?;
    let tls = Acceptor::new(Identity::ephemeral()?)?;
    let (settings, ignored) = config.config(args.dir(), Arc::new(tls))?;
    let folders = match &settings.served {
        Served::Folder(path) => vec![path.as_path()],
        Served::Shares(shares) => shares.iter().map(|share| share.path.as_path()).collect(),
    };
    folders.iter().try_for_each(|folder| check_folder(folder))?;
    ShownIdentity::check(&config)?;
    for what in &ignored {
        output::error(format_args!("this counts for nothing: {what}"));
    }
    let file =
        file.map_or_else(|| "what is built in".into(), |file| EscapedPath(&file).to_string());
    let (users, rules) = (config.user.len(), config.rule.len());
    let but = if ignored.is_empty() { "" } else { ", but for that" };
    output::event(format_args!(
        "{file} is good{but}: {} served, {users} users, {rules} rules",
        folders.len()
    ));
    Ok(())
}

fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let found = std::fs::metadata(folder);
    let found = found.map_err(|error| anyhow!("cannot serve {}: {error}", EscapedPath(folder)))?;
    ensure!(found.is_dir(), "cannot serve {}: it is no folder", EscapedPath(folder));
    Ok(())
}
