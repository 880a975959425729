//! A session for unit tests, with a server behind it that serves a folder of its own, and a connection.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use towline_net::tls::identity::Identity;
use towline_net::tls::server::Acceptor;
use towline_proto::sniff::Face;

use crate::config::Config;
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

/// Two ends of a connection.
pub(super) async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}
