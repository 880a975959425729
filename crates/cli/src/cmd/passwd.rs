//! `towline passwd`: a user's password, set where the server runs.

use anyhow::anyhow;
use towline_proto::escape::EscapedPath;
use towline_server::auth::credentials::{Credentials, PasswordEntry};
use towline_server::auth::password;

use super::token::CredentialsArgs;
use crate::exit::{Exit, Failure};
use crate::{output, secrets};

/// Sets a user's password. A server that runs takes notice within seconds; sessions that the old one opened end.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The user
    user: String,
    /// Remove the password: the user then logs in with tokens alone
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    credentials: CredentialsArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path = args.credentials.file_for(&args.user)?;
    let user = &args.user;
    let hash = if args.remove {
        None
    } else {
        let typed = secrets::ask_new(&format!("new password of {user}"))?;
        Some(password::hash(&typed).map_err(|error| anyhow!(error))?)
    };
    let is_removal = hash.is_none();
    let set = |all: &mut Credentials| {
        let had = all.password.iter().any(|entry| entry.user == *user);
        all.password.retain(|entry| entry.user != *user);
        all.password.extend(hash.map(|hash| PasswordEntry { user: user.clone(), hash }));
        had
    };
    let had = Credentials::change(&path, set).map_err(|error| anyhow!(error))?;
    if is_removal && !had {
        return Err(Failure::new(Exit::NotFound, anyhow!("{user} has no password")));
    }
    let done = if is_removal { "is removed from" } else { "is in" };
    output::event(format_args!("the password of {user} {done} {}", EscapedPath(&path)));
    Ok(())
}
