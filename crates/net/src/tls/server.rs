//! The server's end: shaking hands with whoever comes, with an identity that can be exchanged meanwhile.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client_auth::{ClientAuthorities, ClientCertificate};
use super::handshake::{receive, shake};
use super::identity::Identity;
use super::{ALPN_NATIVE, Pin, TlsStream, provider};
use crate::peeked::Peeked;

/// The fatal alert for who names no protocol (RFC 8446, section 6; RFC 7301, section 3.2).
const NO_APPLICATION_PROTOCOL: &[u8] = b"\x15\x03\x03\0\x02\x02\x78";

/// Bytes of ciphertext read from the socket at once: clients send requests.
const READ_BYTES: usize = 8 * 1_024;

/// Shakes hands with clients.
#[derive(Debug)]
pub struct Acceptor {
    asking: ArcSwap<Asking>,
    shown: Arc<Shown>,
}

/// How clients are asked for certificates.
#[derive(Debug)]
struct Asking {
    config: Arc<ServerConfig>,
    authorities: Option<ClientAuthorities>,
}

/// How clients will be asked for certificates.
#[derive(Debug)]
pub struct Prepared(Asking);

/// The identity that is shown from now on.
#[derive(Debug)]
struct Shown(ArcSwap<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.load().certified()))
    }
}

impl Acceptor {
    /// Shows `identity` to everyone, and asks nobody for a certificate.
    pub fn new(identity: Identity) -> Result<Self, rustls::Error> {
        let shown = Arc::new(Shown(ArcSwap::from_pointee(identity)));
        let asking = ArcSwap::from_pointee(Asking::of(&shown, None)?);
        Ok(Self { asking, shown })
    }

    /// From now on, clients are asked for a certificate of these authorities. Whoever has none is let in all the same;
    /// one by another authority ends the handshake.
    pub fn ask_for_certificates(
        &self,
        authorities: Option<ClientAuthorities>,
    ) -> Result<(), rustls::Error> {
        self.adopt(self.prepare(authorities)?);
        Ok(())
    }

    /// Builds the configuration; adopting it cannot fail.
    pub fn prepare(
        &self,
        authorities: Option<ClientAuthorities>,
    ) -> Result<Prepared, rustls::Error> {
        Asking::of(&self.shown, authorities).map(Prepared)
    }

    /// Asks so from now on.
    pub fn adopt(&self, Prepared(asking): Prepared) {
        self.asking.store(Arc::new(asking));
    }

    /// Whether the authorities that clients are asked for now stand behind a certificate.
    pub fn vouches_for(&self, certificate: &ClientCertificate) -> bool {
        let asking = self.asking.load();
        asking.authorities.as_ref().is_some_and(|authorities| authorities.vouch_for(certificate))
    }

    /// Shows another identity to whoever comes from now on.
    pub fn replace(&self, identity: Identity) {
        self.shown.0.store(Arc::new(identity));
    }

    /// What clients know the key by that is shown now.
    pub fn pin(&self) -> Pin {
        self.shown.0.load().pin()
    }

    /// Shakes hands. The caller has a deadline for it.
    pub async fn accept(&self, mut stream: Peeked<TcpStream>) -> io::Result<TlsStream> {
        let mut came = Vec::new();
        // If a client names protocols, the TLS library fails the handshake unless ours is one; a client that names none
        // must be refused here.
        if !names_a_protocol(&mut stream, &mut came).await? {
            stream.write_all(NO_APPLICATION_PROTOCOL).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no protocol was asked for"));
        }
        let config = Arc::clone(&self.asking.load().config);
        let connection = UnbufferedServerConnection::new(config);
        let connection = Box::new(connection.map_err(io::Error::other)?);
        let shaken = shake(&mut stream, connection, came).await?;
        TlsStream::new(stream.into_inner(), shaken, READ_BYTES).map_err(io::Error::other)
    }
}

/// Reads the whole `ClientHello` and tells whether it offers ALPN; anything else gets an alert.
async fn names_a_protocol(stream: &mut Peeked<TcpStream>, came: &mut Vec<u8>) -> io::Result<bool> {
    let mut acceptor = rustls::server::Acceptor::default();
    loop {
        let looked_at = came.len();
        receive(stream, came).await?;
        let mut new = &came[looked_at..];
        while !new.is_empty() {
            acceptor.read_tls(&mut new)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(hello)) => return Ok(hello.client_hello().alpn().is_some()),
                Err((error, mut alert)) => {
                    let mut words = Vec::new();
                    alert.write_all(&mut words)?;
                    stream.write_all(&words).await?;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}

impl Asking {
    fn of(
        shown: &Arc<Shown>,
        authorities: Option<ClientAuthorities>,
    ) -> Result<Self, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])?;
        let builder = match &authorities {
            Some(ClientAuthorities(verifier)) => {
                builder.with_client_cert_verifier(Arc::clone(verifier))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(shown) as _);
        config.alpn_protocols = vec![ALPN_NATIVE.to_vec()];
        // For this crate's own use, see `super::records`.
        config.enable_secret_extraction = true;
        // Sessions are resumed from what the client keeps; the server remembers nothing of them. A new key of the
        // tickets ends those that other authorities let in.
        config.ticketer = Ticketer::new()?;
        Ok(Self { config: Arc::new(config), authorities })
    }
}
