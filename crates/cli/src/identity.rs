//! Which key and certificate a server shows, and what its operator is told of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use towline_net::tls::client_auth::ClientAuthorities;
use towline_net::tls::identity::{Identity, IdentityError};
use towline_net::tls::server::{Acceptor, Prepared};
use towline_proto::escape::EscapedPath;

use crate::config::{File, Tls};

/// The identity that a server shows, and where it comes from.
pub(crate) struct ShownIdentity {
    source: IdentitySource,
    acceptor: Arc<Acceptor>,
}

/// What was read again.
pub(crate) struct Renewed {
    identity: Option<Identity>,
    asking: Prepared,
}

/// Whom clients may have their certificates from.
fn client_authorities(config: &File) -> anyhow::Result<Option<ClientAuthorities>> {
    let file = config.tls.client_ca.as_deref();
    Ok(file.map(ClientAuthorities::in_file).transpose()?)
}

/// Where an identity comes from.
#[derive(Clone)]
pub(crate) enum IdentitySource {
    /// Files of an authority.
    Files { certificates: PathBuf, key: PathBuf },
    /// The own one, in the state folder.
    Own { state_dir: PathBuf },
    /// Made for this run.
    Nowhere,
}

impl ShownIdentity {
    /// Loads the identity that the configuration names, or makes one.
    pub(crate) fn load(config: &File) -> anyhow::Result<Self> {
        let source = IdentitySource::of(config)?;
        let is_new = source.will_make_a_key();
        let (identity, source) = match source.load() {
            // A key that cannot be kept has never been known to anyone.
            Err(error @ IdentityError::Unkept { .. }) => {
                tracing::warn!(
                    "{error}; clients will see another key after a restart: choose --state-dir"
                );
                (IdentitySource::Nowhere.load(), IdentitySource::Nowhere)
            }
            loaded => (loaded, source),
        };
        if let IdentitySource::Own { state_dir } = &source
            && is_new
            && identity.is_ok()
        {
            let folder = EscapedPath(state_dir);
            tracing::info!(
                "made a new key in {folder}: clients that know this server by another one refuse it. \
                 To go on with that, name its folder with --state-dir; --user (run_as) has another one by default"
            );
        }
        let acceptor = Acceptor::new(identity?).context("cannot encrypt")?;
        acceptor.ask_for_certificates(client_authorities(config)?).context("cannot encrypt")?;
        Ok(Self { source, acceptor: Arc::new(acceptor) })
    }

    /// Whether what the configuration names can be shown; a key of the server's own always can.
    pub(crate) fn check(config: &File) -> anyhow::Result<()> {
        client_authorities(config)?;
        match IdentitySource::of(config)? {
            source @ IdentitySource::Files { .. } => source.load().map(drop).map_err(Into::into),
            IdentitySource::Own { .. } | IdentitySource::Nowhere => Ok(()),
        }
    }

    /// What shakes hands with clients.
    pub(crate) fn acceptor(&self) -> Arc<Acceptor> {
        Arc::clone(&self.acceptor)
    }

    /// Reads what the configuration names now.
    pub(crate) fn read_again(&self, config: &File) -> anyhow::Result<Renewed> {
        let identity = match (&self.source, IdentitySource::of(config)?) {
            // It was made for this run.
            (IdentitySource::Nowhere, IdentitySource::Own { .. } | IdentitySource::Nowhere) => None,
            (_, source) => Some(source.load()?),
        };
        let asking =
            self.acceptor.prepare(client_authorities(config)?).context("cannot encrypt")?;
        Ok(Renewed { identity, asking })
    }

    /// Shows and asks for something else from whoever comes from now on.
    pub(crate) fn replace(&self, renewed: Renewed) {
        self.acceptor.adopt(renewed.asking);
        if let Some(identity) = renewed.identity {
            self.acceptor.replace(identity);
            tracing::info!("clients know this server by its key {} now", self.acceptor.pin());
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

impl IdentitySource {
    fn of(config: &File) -> anyhow::Result<Self> {
        let Tls { cert, key, .. } = &config.tls;
        match (cert, key, config.state_dir()) {
            (Some(certificates), Some(key), _) => {
                Ok(Self::Files { certificates: certificates.clone(), key: key.clone() })
            }
            (None, None, Some(state_dir)) => Ok(Self::Own { state_dir }),
            (None, None, None) => Ok(Self::Nowhere),
            _ => bail!("a certificate and its key belong together: name both, or neither"),
        }
    }

    fn will_make_a_key(&self) -> bool {
        matches!(self, Self::Own { state_dir } if !Identity::is_kept_in(state_dir))
    }

    fn load(&self) -> Result<Identity, IdentityError> {
        match self {
            Self::Files { certificates, key } => Identity::from_files(certificates, key),
            Self::Own { state_dir } => Identity::own(state_dir),
            Self::Nowhere => Identity::ephemeral(),
        }
    }
}
