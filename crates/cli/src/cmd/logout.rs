//! `towline logout`: forgetting how one logged in.

use anyhow::anyhow;
use towline_client::connect::Address;

use crate::exit::{Exit, Failure};
use crate::{logins, output, url};

/// Forgets the token or password that is kept for a server. The server goes on to take it: tokens are revoked there.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The server; the port is 9999 unless it is said
    #[arg(value_name = "HOST[:PORT]", value_parser = url::address)]
    server: Address,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if !logins::forget(&args.server)? {
        let nothing = anyhow!("nothing is kept for {}", args.server);
        return Err(Failure::new(Exit::NotFound, nothing));
    }
    output::event(format_args!("the login of {} is forgotten", args.server));
    Ok(())
}
