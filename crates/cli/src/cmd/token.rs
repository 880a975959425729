//! `towline token`: tokens that let programs and people in, made and revoked where the server runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use towline_proto::escape::EscapedPath;
use towline_server::auth::credentials::{Credentials, TokenEntry};
use towline_server::auth::token::{Fingerprint, Token};
use towline_server::policy::{Action, Area};

use super::serve::{ConfigArgs, make_own_folders};
use crate::config;
use crate::exit::{Exit, Failure};
use crate::options;
use crate::output::{self, JsonLine};

/// Bytes of an entry's id, which is random: enough to tell all tokens of a server apart.
const ID_BYTES: usize = 4;

/// Makes, lists and revokes tokens. A server that runs takes notice within seconds.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it, once: only its hash is kept
    New(NewArgs),
    /// List tokens, without what they are
    List(ListArgs),
    /// Revoke a token, also for sessions that are open
    Revoke(RevokeArgs),
}

/// Whose credentials.
#[derive(clap::Args, Debug)]
pub(crate) struct CredentialsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The credentials' file [default: as configured, else credentials.toml in the state folder]
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct NewArgs {
    /// The user that it stands for
    user: String,
    /// How long it is good [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = options::timeout)]
    expires: Option<Duration>,
    /// Where it is good, as in a rule; repeat for several [default: wherever its user's rights reach]
    #[arg(long, value_name = "PATH", value_parser = area)]
    path: Vec<String>,
    /// What it is good for: read, list, create, write, delete [default: all that its user may]
    #[arg(long, value_name = "ACTION", value_delimiter = ',', value_parser = action)]
    allow: Vec<Action>,
    #[command(flatten)]
    credentials: CredentialsArgs,
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Print one JSON object per token
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    credentials: CredentialsArgs,
}

#[derive(clap::Args, Debug)]
struct RevokeArgs {
    /// The token's id, as `towline token list` prints it
    id: String,
    #[command(flatten)]
    credentials: CredentialsArgs,
}

fn area(text: &str) -> Result<String, String> {
    Area::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn action(text: &str) -> Result<Action, String> {
    let known = Action::ALL.into_iter().find(|action| action.name() == text);
    known.ok_or_else(|| "use read, list, create, write or delete".into())
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::New(args) => Ok(new(args)?),
        Command::List(args) => Ok(list(&args)?),
        Command::Revoke(args) => revoke(&args),
    }
}

impl CredentialsArgs {
    /// The file, and whether the configuration has this user.
    pub(crate) fn file_for(&self, user: &str) -> anyhow::Result<PathBuf> {
        let config = self.load()?;
        if !config.user.is_empty() && !config.user.iter().any(|known| known.name == user) {
            bail!("{user:?} is no [[user]] of the configuration");
        }
        if config.user.is_empty() {
            output::message(format_args!("no [[user]] is configured yet; add one called {user:?}"));
        }
        make_own_folders(&config)?;
        self.file_in(&config)
    }

    fn file(&self) -> anyhow::Result<PathBuf> {
        self.file_in(&self.load()?)
    }

    fn load(&self) -> anyhow::Result<config::File> {
        config::load(config::find(self.config.config.as_deref())?.as_deref())
    }

    fn file_in(&self, config: &config::File) -> anyhow::Result<PathBuf> {
        let file = self.credentials.clone().or_else(|| config.credentials_file());
        file.context("there is no place for credentials: name a file with --credentials")
    }
}

fn new(args: NewArgs) -> anyhow::Result<()> {
    let path = args.credentials.file_for(&args.user)?;
    let token = Token::random().map_err(|error| anyhow!("no random bytes: {error}"))?;
    let fingerprint = Fingerprint::of(token.reveal()).to_hex();
    let created = Timestamp::now();
    let lasts = |time| {
        let time = SignedDuration::try_from(time)?;
        created.checked_add(time)
    };
    let expires = args.expires.map(lasts).transpose().context("that is too long")?;
    let id = fingerprint[..2 * ID_BYTES].to_owned();
    let entry = TokenEntry {
        id: id.clone(),
        user: args.user,
        hash: fingerprint,
        created,
        expires,
        paths: args.path,
        allow: args.allow,
    };
    Credentials::change(&path, |all| all.token.push(entry))?;
    output::message(format_args!(
        "the token {id} is in {}; this is shown once:",
        EscapedPath(&path)
    ));
    output::line(token.reveal())?;
    Ok(())
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let credentials = Credentials::load(&args.credentials.file()?)?;
    for token in &credentials.token {
        let TokenEntry { id, user, created, expires, paths, allow, .. } = token;
        let actions: Vec<_> = allow.iter().map(|action| action.name()).collect();
        let printed = if args.json {
            output::line(JsonLine(json!({
                "event": "token", "id": id, "user": user, "created": created.to_string(),
                "expires": expires.map(|expires| expires.to_string()), "paths": paths, "allow": actions,
            })))
        } else {
            let ends = expires.map_or_else(|| "-".into(), |expires| expires.to_string());
            let or_all = |words: String| if words.is_empty() { "all".into() } else { words };
            let (paths, actions) = (or_all(paths.join(",")), or_all(actions.join(",")));
            output::line(format_args!("{id}  {user}  until {ends}  {paths}  {actions}"))
        };
        if printed.is_err() {
            // Whoever read it has seen enough.
            break;
        }
    }
    Ok(())
}

fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let path = args.credentials.file()?;
    let revoke = |all: &mut Credentials| {
        let before = all.token.len();
        all.token.retain(|token| token.id != args.id);
        before > all.token.len()
    };
    if !Credentials::change(&path, revoke).map_err(|error| anyhow!(error))? {
        let unknown = anyhow!("no token is called {}; `towline token list` lists them", args.id);
        return Err(Failure::new(Exit::NotFound, unknown));
    }
    output::event(format_args!("the token {} is revoked", args.id));
    Ok(())
}
