//! The client's end: connecting to a server that proves itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore, version};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::verifier::{Untrusted, Verifier};
use super::{ALPN_NATIVE, Pin, TlsStream, provider};
use crate::peeked::Peeked;

/// Bytes of ciphertext read from the socket at once; the TLS library would read 4 KiB.
const READ_BYTES: usize = 256 * 1_024;

/// What a server must show.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// The key with this pin.
    Pin(Pin),
    /// A certificate for its name by one of these authorities.
    Authority(Arc<dyn ServerCertVerifier>),
    /// Nothing is known of it: an authority's certificate if it has one, else any key, which is to be remembered.
    Anything(Option<Arc<dyn ServerCertVerifier>>),
}

/// How a server has proved that it is the right one, which is how it must do so from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By having the key with this pin.
    Pin(Pin),
    /// By the certificate of an authority.
    Authority,
}

/// Why authorities cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The file cannot be used.
    #[error("cannot use the authorities in {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has none.
    #[error("cannot use the system's authorities: {0}")]
    System(rustls::Error),
}

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server is not the one that was asked for.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The handshake failed.
    #[error("no encrypted connection: {0}")]
    Handshake(io::Error),
    /// The server does TLS, but not for this protocol.
    #[error("the server does not speak towline's protocol")]
    AnotherProtocol,
}

/// Connects to one server, again and again if need be.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
    name: ServerName<'static>,
}

impl Connector {
    /// For the server `host`, a name or an address without brackets.
    pub fn new(host: &str, expectation: Expectation) -> Result<Self, InvalidDnsNameError> {
        let name = ServerName::try_from(host.to_owned())?;
        let provider = provider();
        let verifier = Arc::new(Verifier::new(Arc::clone(&provider), expectation));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .expect("the provider has the cipher suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_NATIVE.to_vec()];
        Ok(Self { config: Arc::new(config), verifier, name })
    }

    /// How the server has proved itself; `None` before the first connection.
    pub fn proof(&self) -> Option<Proof> {
        self.verifier.proof.get().copied()
    }

    /// Shakes hands. Sessions after the first resume it, which spares most of the work.
    pub async fn connect(&self, stream: Peeked<TcpStream>) -> Result<TlsStream, TlsError> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connecting =
            connector.connect(self.name.clone(), BufReader::with_capacity(READ_BYTES, stream));
        let stream = connecting.await.map_err(explain)?;
        let (_, connection) = stream.get_ref();
        if connection.alpn_protocol() != Some(ALPN_NATIVE) {
            return Err(TlsError::AnotherProtocol);
        }
        if let Some([certificate, issuers @ ..]) = connection.peer_certificates() {
            let now = UnixTime::now();
            let proof = self.verifier.check(certificate, issuers, &self.name, now)?;
            if *self.verifier.proof.get_or_init(|| proof) != proof {
                // Another connection was first, and to a server that proved itself otherwise.
                self.verifier.check(certificate, issuers, &self.name, now)?;
            }
        }
        Ok(stream.into())
    }
}

/// The reason why the verifier refused, where it was the verifier that did.
fn explain(error: io::Error) -> TlsError {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref::<Untrusted>() {
                Some(untrusted) => untrusted.clone().into(),
                None => TlsError::Handshake(error),
            }
        }
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
            TlsError::AnotherProtocol
        }
        _ => TlsError::Handshake(error),
    }
}

/// The authorities that this system trusts.
pub fn system_authorities() -> Result<Arc<dyn ServerCertVerifier>, AuthorityError> {
    let verifier = rustls_platform_verifier::Verifier::new(provider());
    Ok(Arc::new(verifier.map_err(AuthorityError::System)?))
}

/// The authorities whose certificates (PEM) are in a file. Blocks.
pub fn authorities_in(path: &Path) -> Result<Arc<dyn ServerCertVerifier>, AuthorityError> {
    let unusable = |reason: String| AuthorityError::File { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    Ok(verifier.build().map_err(|error| unusable(error.to_string()))?)
}
