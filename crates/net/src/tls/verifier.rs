//! Deciding whether a server is the right one.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::Pin;

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
pub enum ServerProof {
    /// By having the key with this pin.
    Pin(Pin),
    /// By the certificate of an authority.
    Authority,
}

/// Why a server is not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// Its key is another one.
    #[error("the server's key is {shown}, and should be {expected}")]
    AnotherKey {
        /// What was expected.
        expected: Pin,
        /// What the server showed.
        shown: Pin,
    },
    /// No authority vouches for it.
    #[error("no authority vouches for the server, whose key is {shown}: {reason}")]
    NoAuthority {
        /// What the server showed.
        shown: Pin,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// Its certificate cannot be read.
    #[error("the server's certificate is malformed: {0}")]
    Malformed(String),
}

/// Looks at certificates. The handshake's signature is always verified, whatever the certificate is trusted for.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    expectation: Expectation,
    /// How the server has proved itself in this process: it must do so again in the same way.
    pub(super) proof: OnceLock<ServerProof>,
}

impl Verifier {
    pub(super) fn new(provider: Arc<CryptoProvider>, expectation: Expectation) -> Self {
        Self { provider, expectation, proof: OnceLock::new() }
    }

    /// What the server's certificate proves, if it is enough.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerProof, Untrusted> {
        let shown =
            Pin::of(certificate).map_err(|error| Untrusted::Malformed(error.to_string()))?;
        let by_pin = |expected: Pin| {
            if shown == expected {
                Ok(ServerProof::Pin(shown))
            } else {
                Err(Untrusted::AnotherKey { expected, shown })
            }
        };
        let by_authority = |authorities: &Arc<dyn ServerCertVerifier>| match authorities
            .verify_server_cert(certificate, issuers, name, &[], now)
        {
            Ok(_) => Ok(ServerProof::Authority),
            Err(error) => Err(Untrusted::NoAuthority { shown, reason: error.to_string() }),
        };
        match (&self.expectation, self.proof.get()) {
            (Expectation::Pin(pin), _) | (_, Some(ServerProof::Pin(pin))) => by_pin(*pin),
            (Expectation::Authority(authorities), _)
            | (Expectation::Anything(Some(authorities)), Some(ServerProof::Authority)) => {
                by_authority(authorities)
            }
            (Expectation::Anything(authorities), _) => {
                let vouched = authorities.as_ref().and_then(|all| by_authority(all).ok());
                Ok(vouched.unwrap_or(ServerProof::Pin(shown)))
            }
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check(end_entity, intermediates, server_name, now) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(untrusted) => {
                let reason = CertificateError::Other(OtherError(Arc::new(untrusted)));
                Err(Error::InvalidCertificate(reason))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
