//! A session for unit tests, with a server behind it that serves a folder of its own, and a connection.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use towline_net::tls::identity::Identity;
use towline_net::tls::server::Acceptor;
use towline_proto::sniff::Face;

use crate::auth::credentials::Credentials;
use crate::auth::{Access, Terms};
use crate::config::Config;
use crate::metrics::Limit;
use crate::policy::Policy;
use crate::server::Server;
use crate::session::Session;
use crate::shutdown::Shutdown;

/// A session, and the folder that is served.
pub(super) fn session() -> (Session, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let tls = Arc::new(Acceptor::new(Identity::ephemeral().unwrap()).unwrap());
    let server = Server::new(&Config::new(folder.path(), tls), Shutdown::default()).unwrap();
    let mut session = Session::new((Ipv4Addr::LOCALHOST, 1).into(), Arc::new(server));
    session.face = Some(Face::Native);
    (session, folder)
}

/// Writes a file to be served.
#[expect(clippy::disallowed_methods, reason = "what is served has to come from somewhere")]
pub(super) fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.path().join(name), content).unwrap();
}

/// From now on nobody may do anything.
pub(super) fn deny_everything(server: &Server) {
    let (none, _) = Access::new(Policy::new(Vec::new()), HashMap::new(), Credentials::default());
    let access = Arc::new(none);
    server.gate.replace(|now| Terms { access: Arc::clone(&access), ..now.clone() });
}

/// Begins some work, and returns it when it has met this limit.
pub(super) async fn waits_for<F: Future>(limit: Limit, server: &Server, work: F) -> Pin<Box<F>> {
    let (mut work, met) = (Box::pin(work), server.metrics.limit(limit));
    let meeting = async {
        while met.get() == 0 {
            yield_now().await;
        }
    };
    tokio::select! {
        () = meeting => work,
        _ = &mut work => panic!("it waited for nothing"),
    }
}

/// Two ends of a connection.
pub(super) async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}
