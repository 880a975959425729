//! The server's end: shaking hands with whoever comes, with an identity that can be exchanged meanwhile.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;

use super::identity::Identity;
use super::{ALPN_NATIVE, Pin, TlsStream, buffered, provider};
use crate::peeked::Peeked;

/// Handshakes past their first message that are under way at once.
const HANDSHAKES_MAX: usize = 1_024;

/// Shakes hands with clients.
#[derive(Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    places: Semaphore,
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
        Ok(Self { config: Arc::new(config), shown, places: Semaphore::new(HANDSHAKES_MAX) })
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
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), buffered(stream));
        let hello = hello.await?;
        // Whoever says nothing takes no place here.
        let place = self.places.acquire().await;
        let accepted = hello.into_stream(Arc::clone(&self.config)).await;
        drop(place);
        Ok(accepted?.into())
    }
}
