//! The server's end: shaking hands with whoever comes, with an identity that can be exchanged meanwhile.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

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
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

/// The identity that is shown from now on.
#[derive(Debug)]
struct Shown(ArcSwap<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.load().certified()))
    }
}

impl Acceptor {
    /// Shows `identity` to everyone.
    pub fn new(identity: Identity) -> Result<Self, rustls::Error> {
        let shown = Arc::new(Shown(ArcSwap::from_pointee(identity)));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as _);
        config.alpn_protocols = vec![ALPN_NATIVE.to_vec()];
        // Sessions are resumed from what the client keeps; the server remembers nothing of them.
        config.ticketer = Ticketer::new()?;
        Ok(Self { config: Arc::new(config), shown })
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
    pub async fn accept(&self, stream: Peeked<TcpStream>) -> io::Result<TlsStream> {
        let reader = BufReader::with_capacity(READ_BYTES, stream);
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), reader);
        let mut hello = hello.await?;
        // Where a client names protocols, the handshake fails unless ours is one; naming none is left to us.
        if hello.client_hello().alpn().is_none() {
            hello.io.write_all(NO_APPLICATION_PROTOCOL).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no protocol was asked for"));
        }
        // Those that wait for their peers are bounded as connections are: places of their own could all be taken by
        // peers that say nothing more.
        let accepted = hello.into_stream(Arc::clone(&self.config)).await;
        Ok(accepted?.into())
    }
}
