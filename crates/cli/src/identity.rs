//! Which key and certificate a server shows, and what its operator is told of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use towline_net::tls::identity::{Identity, IdentityError};
use towline_net::tls::server::Acceptor;

use crate::exit::Failure;

/// How a server encrypts.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct TlsArgs {
    /// Certificate by an authority, with those of its issuers (PEM) [default: an own one, known by its pin]
    #[arg(long, value_name = "FILE", env = "TOWLINE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM); not readable by everyone
    #[arg(long, value_name = "FILE", env = "TOWLINE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Turn away clients that do not encrypt, those of the classic protocol among them
    #[arg(long, env = "TOWLINE_REQUIRE_TLS")]
    pub(crate) require_tls: bool,
}

/// Where a server's identity comes from, at the start and when it is read again.
pub(crate) struct IdentitySource {
    place: Place,
    acceptor: Arc<Acceptor>,
}

enum Place {
    /// Files of an authority.
    Files { certificates: PathBuf, key: PathBuf },
    /// The own one, in the state folder.
    Own { state_dir: PathBuf },
    /// Made for this run.
    Nowhere,
}

impl IdentitySource {
    /// Loads the identity, or makes one.
    pub(crate) fn load(args: &TlsArgs, state_dir: Option<&Path>) -> Result<Self, Failure> {
        let place = match (&args.tls_cert, &args.tls_key, state_dir) {
            (Some(certificates), Some(key), _) => {
                Place::Files { certificates: certificates.clone(), key: key.clone() }
            }
            (_, _, Some(state_dir)) => Place::Own { state_dir: state_dir.to_owned() },
            _ => Place::Nowhere,
        };
        let (identity, place) = match place.load() {
            // A key that cannot be kept has never been known to anyone.
            Err(error @ IdentityError::Unkept { .. }) => {
                tracing::warn!(
                    "{error}; clients will see another key after a restart: choose --state-dir"
                );
                (Place::Nowhere.load(), Place::Nowhere)
            }
            loaded => (loaded, place),
        };
        let identity = identity.map_err(|error| anyhow!(error))?;
        let acceptor = Acceptor::new(identity).context("cannot encrypt")?;
        Ok(Self { place, acceptor: Arc::new(acceptor) })
    }

    /// What shakes hands with clients.
    pub(crate) fn acceptor(&self) -> Arc<Acceptor> {
        Arc::clone(&self.acceptor)
    }

    /// Reads the identity again. Whatever is wrong with it keeps the old one.
    pub(crate) fn reload(&self) {
        if matches!(self.place, Place::Nowhere) {
            tracing::info!("the key was made for this run: there is nothing to read again");
            return;
        }
        match self.place.load() {
            Ok(identity) => {
                self.acceptor.replace(identity);
                tracing::info!("clients know this server by its key {} now", self.acceptor.pin());
            }
            Err(error) => tracing::error!("the old key and certificate stay: {error}"),
        }
    }

    /// Tells what to type on another machine.
    pub(crate) fn advertise(&self, address: SocketAddr) {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        let host =
            if address.ip().is_unspecified() { host } else { address.ip().to_string().into() };
        let host = if host.contains(':') { format!("[{host}]") } else { host.into_owned() };
        let (pin, port) = (self.acceptor.pin(), address.port());
        tracing::info!("to fetch from it: towline get --pin {pin} {host}:{port}/FILE");
    }
}

impl Place {
    fn load(&self) -> Result<Identity, IdentityError> {
        match self {
            Self::Files { certificates, key } => Identity::from_files(certificates, key),
            Self::Own { state_dir } => Identity::own(state_dir),
            Self::Nowhere => Identity::ephemeral(),
        }
    }
}
