//! `towline login`: proving once who one is, for all later commands.

use std::time::Duration;

use anyhow::anyhow;
use towline_client::connect::Address;
use towline_client::native::{SessionError, log_in, may_log_in};
use towline_proto::escape::EscapedPath;

use super::block_on;
use crate::acquaintance::Announcement;
use crate::exit::{Exit, Failure};
use crate::trust::{TRUST, TrustArgs};
use crate::{logins, options, output, secrets, url};

/// Logs in to a server, and keeps the token or the password in logins.toml in the configuration folder, readable by
/// you alone. It is asked for, or read from standard input.
#[derive(clap::Args, Debug)]
#[command(after_help = TRUST)]
pub(crate) struct Args {
    /// The server; the port is 9999 unless it is said
    #[arg(value_name = "HOST[:PORT]", value_parser = url::address)]
    server: Address,
    /// Your name there, to log in with a password [default: log in with a token]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Longest time without a sign of the server
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = options::timeout)]
    timeout: Duration,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Some(trust) = args.trust.establish(&args.server, None)? else {
        let plain = anyhow!("nobody logs in without encryption: leave --plain out");
        return Err(Failure::new(Exit::Usage, plain));
    };
    let failed = format!("not logged in to {}", args.server);
    let asked = block_on(async { Ok(may_log_in(&args.server, &trust, args.timeout).await) })?;
    asked.map_err(|error| Failure::session(&failed, &error))?;
    let what = match &args.user {
        Some(user) => format!("password of {user} on {}", args.server),
        None => format!("token for {}", args.server),
    };
    let proof = logins::proof(args.user.clone(), secrets::ask(&what)?)?;
    let trust = trust.with_login(proof.clone());
    let tried = block_on(async { Ok(log_in(&args.server, &trust, args.timeout).await) })?;
    let news = tried.map_err(|error| match error {
        // Where what was typed comes from needs no advice.
        SessionError::LoginRefused(_) => Failure::new(Exit::Refused, anyhow!("{failed}: {error}")),
        error => Failure::session(&failed, &error),
    })?;
    if let Some(news) = news {
        output::event(Announcement(&news));
    }
    let path = logins::keep(&args.server, &proof)?;
    output::event(format_args!("logged in to {}; kept in {}", args.server, EscapedPath(&path)));
    Ok(())
}
