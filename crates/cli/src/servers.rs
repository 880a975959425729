//! The servers that a run of the program has to do with.

use std::time::Duration;

use towline_client::connect::Address;
use towline_client::native::Server;

use crate::args::PatienceArgs;
use crate::exit::Failure;
use crate::trust::ServerArgs;

/// Each is looked up among those that are trusted once, and the sessions with it serve all that is asked of it.
pub(crate) struct Servers<'a> {
    args: &'a ServerArgs,
    silence_max: Duration,
    met: Vec<Server>,
}

impl<'a> Servers<'a> {
    /// None is met yet.
    pub(crate) fn new(args: &'a ServerArgs, patience: &PatienceArgs) -> Self {
        Self { args, silence_max: patience.timeout, met: Vec::new() }
    }

    /// The one at this address. Blocks where it is met for the first time.
    pub(crate) fn at(&mut self, address: &Address) -> Result<Server, Failure> {
        if let Some(met) = self.met.iter().find(|server| server.address() == address) {
            return Ok(met.clone());
        }
        let encryption = self.args.establish(address)?;
        let server = Server::new(address.clone(), encryption, self.silence_max);
        self.met.push(server.clone());
        Ok(server)
    }
}
