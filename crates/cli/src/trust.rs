//! How a client command is told which server is the right one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::anyhow;
use towline_client::connect::Address;
use towline_client::trust::{Demand, KnownServers, Place, Trust, TrustError};
use towline_net::tls::Pin;
use towline_net::tls::client::authorities_in;
use towline_net::tls::identity::Identity;

use crate::config::default_state_dir;
use crate::exit::{Exit, Failure};
use crate::logins::{self, LoginArgs};

/// The known servers' file, in the state folder.
const KNOWN_SERVERS: &str = "known-servers";

/// Shown in the help of commands that speak to servers.
pub(crate) const TRUST: &str = "\
Everything is encrypted, and the server must prove that it is the right one: by its key (--pin),
or by the certificate of an authority (--ca, or one that this system trusts). Where nothing is
given, what it proves the first time is remembered, and anything else is refused from then on; see
`towline pins`.";

/// Which server is the right one.
#[derive(clap::Args, Clone, Debug)]
#[group(multiple = false)]
pub(crate) struct TrustArgs {
    /// The server must have this key, as it printed when it started; remembered
    #[arg(long, value_name = "sha256:HEX")]
    pin: Option<Pin>,
    /// The server must have a certificate by an authority in this file (PEM); remembered
    #[arg(long, value_name = "FILE", value_parser = authorities)]
    ca: Option<PathBuf>,
    /// Without encryption, for networks that you trust
    #[arg(long)]
    plain: bool,
}

/// A certificate that says who this user is, for servers that ask for one.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct CertificateArgs {
    /// Certificate that says who you are, for servers that ask for one (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWLINE_CLIENT_CERT",
        requires = "client_key",
        conflicts_with = "plain"
    )]
    client_cert: Option<PathBuf>,
    /// Private key of that certificate (PEM); readable by you alone
    #[arg(long, value_name = "FILE", env = "TOWLINE_CLIENT_KEY", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

impl CertificateArgs {
    fn load(&self) -> anyhow::Result<Option<Identity>> {
        let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(None);
        };
        Ok(Some(Identity::from_files(certificate, key)?))
    }
}

/// Which server is the right one, and who this user is there.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    certificate: CertificateArgs,
    #[command(flatten)]
    login: LoginArgs,
}

impl ServerArgs {
    /// What the server must prove, and what it is told then; `None` without encryption. Blocks.
    pub(crate) fn establish(&self, address: &Address) -> Result<Option<Trust>, Failure> {
        let usage = |error| Failure::new(Exit::Usage, error);
        let shown = self.certificate.load().map_err(usage)?;
        let Some(trust) = self.trust.establish(address, shown.as_ref())? else { return Ok(None) };
        let login = match self.login.given().map_err(usage)? {
            Some(given) => Some(given),
            None => logins::kept(address)?,
        };
        Ok(Some(match login {
            Some(login) => trust.with_login(login),
            None => trust,
        }))
    }

    /// Fails where these are several servers, and one token would be told to all of them.
    pub(crate) fn check_token<'a>(
        &self,
        servers: impl Iterator<Item = &'a Address>,
    ) -> Result<(), Failure> {
        let Some(token) = self.login.one_token().filter(|_| !self.trust.plain) else {
            return Ok(());
        };
        let servers: BTreeSet<_> = servers.map(|address| Place::of(address).to_string()).collect();
        if servers.len() <= 1 {
            return Ok(());
        }
        let servers = servers.into_iter().collect::<Vec<_>>().join(", ");
        let told = anyhow!(
            "the token of {token} is for one server, and would be told to {servers}: fetch from one at a time, or let `towline login` keep a login for each"
        );
        Err(Failure::new(Exit::Usage, told))
    }
}

impl TrustArgs {
    /// What the server must prove; `None` without encryption. Blocks.
    pub(crate) fn establish(
        &self,
        address: &Address,
        shown: Option<&Identity>,
    ) -> Result<Option<Trust>, Failure> {
        let demand = match (self.pin, &self.ca) {
            _ if self.plain => return Ok(None),
            (Some(pin), _) => Demand::Pin(pin),
            (_, Some(path)) => Demand::AuthoritiesIn(path.clone()),
            (None, None) => Demand::AsBefore,
        };
        let trust = Trust::establish(address, demand, known_servers(), shown);
        trust.map(Some).map_err(|error| {
            // What cannot be told is not trusted: whoever looks at the code of a refusal looks at this too.
            let exit = match error {
                TrustError::Name(_) => Exit::Other,
                _ => Exit::Refused,
            };
            Failure::new(exit, anyhow!("{error}"))
        })
    }
}

/// The servers that this user's commands know.
pub(crate) fn known_servers() -> KnownServers {
    KnownServers::new(default_state_dir().map(|folder| folder.join(KNOWN_SERVERS)))
}

/// The absolute path of a file with authorities that can be used.
fn authorities(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    authorities_in(&path).map_err(|error| error.to_string())?;
    std::path::absolute(path).map_err(|error| error.to_string())
}
