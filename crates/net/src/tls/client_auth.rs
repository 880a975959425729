//! Certificates that clients prove themselves with: which authorities vouch for them, and whether they still do.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::client::{AuthorityError, roots_in};
use super::{TlsStream, provider};

/// How long it is believed that a certificate was found good, so that not every request costs its verification.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// Authorities whose certificates clients may prove themselves with.
#[derive(Clone, Debug)]
pub struct ClientAuthorities(pub(super) Arc<dyn ClientCertVerifier>);

/// A certificate whose key a client has proved to have.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The client's own, and those between it and its authority.
    chain: Vec<CertificateDer<'static>>,
    names: Vec<String>,
    /// By whom and when it was found good last.
    found_good: Mutex<Option<(ClientAuthorities, Instant)>>,
}

impl ClientAuthorities {
    /// Those whose certificates (PEM) are in a file. Blocks.
    pub fn in_file(path: &Path) -> Result<Self, AuthorityError> {
        let unusable = |reason: String| AuthorityError::File { path: path.to_owned(), reason };
        let roots = Arc::new(roots_in(path)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .allow_unauthenticated()
            .build();
        verifier.map(Self).map_err(|error| unusable(error.to_string()))
    }

    /// Whether one of these stands behind a certificate now. It was so when the session began, or the one that it was
    /// resumed from; since then its time may have passed, and these may be other authorities.
    pub fn vouch_for(&self, certificate: &ClientCertificate) -> bool {
        let mut found_good = certificate.found_good.lock().unwrap_or_else(PoisonError::into_inner);
        let is_believed =
            |(by, at): &(Self, Instant)| Arc::ptr_eq(&by.0, &self.0) && at.elapsed() < BELIEVED_FOR;
        if found_good.as_ref().is_some_and(is_believed) {
            return true;
        }
        let is_good = certificate.chain.split_first().is_some_and(|(own, between)| {
            self.0.verify_client_cert(own, between, UnixTime::now()).is_ok()
        });
        *found_good = is_good.then(|| (self.clone(), Instant::now()));
        is_good
    }
}

impl ClientCertificate {
    /// The one that the client showed in its handshake, or in that of the session that it resumed; `None` also where
    /// it names nobody.
    pub fn shown_over(stream: &TlsStream) -> Option<Self> {
        let chain = stream.agreed().certificates.clone();
        let own = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
        let names: Vec<_> = own.valid_dns_names().map(str::to_owned).collect();
        (!names.is_empty()).then(|| Self { chain, names, found_good: Mutex::default() })
    }

    /// The DNS names in it.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
