//! The client's end: connecting to a server that proves itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, RootCertStore, version};
use tokio::net::TcpStream;
use towline_proto::escape::EscapedPath;

use super::handshake::{NoTls, shake};
use super::identity::Identity;
use super::verifier::{Expectation, ServerProof, Untrusted, Verifier};
use super::{ALPN_NATIVE, TlsStream, provider};
use crate::peeked::Peeked;

/// Bytes of ciphertext read from the socket at once.
const READ_BYTES: usize = 256 * 1_024;

/// Why authorities cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The file cannot be used.
    #[error("cannot use the authorities in {}: {reason}", EscapedPath(path))]
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
    /// What the server answers is no TLS; with its first bytes.
    #[error("what the server answers is no TLS")]
    NoTls(Vec<u8>),
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
        // For this crate's own use, see `super::records`.
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config), verifier, name })
    }

    /// The same, which shows a certificate to a server that asks for one.
    pub fn showing(mut self, identity: &Identity) -> Self {
        let certified = SingleCertAndKey::from(Arc::clone(identity.certified()));
        Arc::make_mut(&mut self.config).client_auth_cert_resolver = Arc::new(certified);
        self
    }

    /// How the server has proved itself; `None` before the first connection.
    pub fn proof(&self) -> Option<ServerProof> {
        self.verifier.proof.get().copied()
    }

    /// Shakes hands. Sessions after the first resume it, which spares most of the work.
    pub async fn connect(&self, mut stream: Peeked<TcpStream>) -> Result<TlsStream, TlsError> {
        let connection =
            UnbufferedClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let connection =
            connection.map_err(|error| TlsError::Handshake(io::Error::other(error)))?;
        let shaking_hands = shake(&mut stream, Box::new(connection), Vec::new());
        let shaken = shaking_hands.await.map_err(explain)?;
        let agreed = &shaken.agreed;
        if agreed.protocol.as_deref() != Some(ALPN_NATIVE) {
            return Err(TlsError::AnotherProtocol);
        }
        if let [certificate, issuers @ ..] = &agreed.certificates[..] {
            let now = UnixTime::now();
            let proof = self.verifier.check(certificate, issuers, &self.name, now)?;
            if *self.verifier.proof.get_or_init(|| proof) != proof {
                // Another connection was first, and to a server that proved itself otherwise.
                self.verifier.check(certificate, issuers, &self.name, now)?;
            }
        }
        let stream = TlsStream::new(stream.into_inner(), shaken, READ_BYTES);
        stream.map_err(|error| TlsError::Handshake(io::Error::other(error)))
    }
}

/// The reason why the verifier refused, where it was the verifier that did.
fn explain(error: io::Error) -> TlsError {
    if let Some(NoTls(first_bytes)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return TlsError::NoTls(first_bytes.clone());
    }
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
    let roots = Arc::new(roots_in(path)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider());
    Ok(verifier.build().map_err(|error| unusable(error.to_string()))?)
}

/// The certificates (PEM) in a file. Blocks.
pub(super) fn roots_in(path: &Path) -> Result<RootCertStore, AuthorityError> {
    let unusable = |reason: String| AuthorityError::File { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    Ok(roots)
}
