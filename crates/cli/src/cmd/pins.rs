//! `towline pins`: the servers that are known, and forgetting one.

use anyhow::anyhow;
use clap::Subcommand;
use serde_json::json;
use towline_client::connect::Address;
use towline_client::trust::{Place, Way};

use crate::exit::{Exit, Failure};
use crate::output::{self, JsonLine};
use crate::trust::known_servers;
use crate::url;

/// Shows or changes what is known of servers: the key or the authority that each must have.
///
/// They are in `known-servers` in the state folder, one line each.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the known servers, and what each must prove
    List(ListArgs),
    /// Forget a server, so that the next transfer trusts it anew
    Forget(ForgetArgs),
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Print one JSON object per server: event (`known`), server, and pin or ca
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct ForgetArgs {
    /// The server; the port is 9999 unless it is said
    #[arg(value_name = "HOST[:PORT]", value_parser = url::address)]
    server: Address,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List(args) => list(&args),
        Command::Forget(args) => forget(&args),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let known = known_servers().list().map_err(|error| anyhow!(error))?;
    let width = known.iter().map(|(place, _)| place.to_string().len()).max().unwrap_or(0);
    for (place, way) in &known {
        let place = place.to_string();
        let printed = if args.json {
            output::line(JsonLine(match way {
                Way::Pin(pin) => json!({"event": "known", "server": place, "pin": pin.to_string()}),
                Way::SystemAuthorities => {
                    json!({"event": "known", "server": place, "ca": "system"})
                }
                Way::AuthoritiesIn(path) => {
                    json!({"event": "known", "server": place, "ca": path.to_string_lossy()})
                }
            }))
        } else {
            output::line(format_args!("{place:width$}  {way}"))
        };
        if printed.is_err() {
            // Whoever read it has seen enough.
            break;
        }
    }
    Ok(())
}

fn forget(args: &ForgetArgs) -> Result<(), Failure> {
    let place = Place::of(&args.server);
    let known = known_servers();
    let Some(way) = known.forget(&place).map_err(|error| anyhow!(error))? else {
        let error = anyhow!("{place} is not known; `towline pins list` shows those that are");
        return Err(Failure::new(Exit::NotFound, error));
    };
    output::event(format_args!("{place} is forgotten; it was known by {way}"));
    Ok(())
}
