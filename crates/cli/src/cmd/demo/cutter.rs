//! A relay that cuts its first connection in the middle, as networks do.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Relays connections to a server; the first only until it has brought a number of bytes. Ends when dropped.
pub(super) struct Cutter {
    pub(super) address: SocketAddr,
    relaying: JoinHandle<io::Result<()>>,
}

impl Cutter {
    /// Begins to relay to `server`, and cuts after `bytes` of the first reply.
    pub(super) async fn start(server: SocketAddr, bytes: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((server.ip(), 0)).await.context("cannot listen")?;
        let address = listener.local_addr().context("cannot tell the relay's address")?;
        Ok(Self { address, relaying: tokio::spawn(relay(listener, server, bytes)) })
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

async fn relay(listener: TcpListener, server: SocketAddr, bytes: u64) -> io::Result<()> {
    let mut bytes_max = bytes;
    loop {
        let (near, _) = listener.accept().await?;
        let far = TcpStream::connect(server).await?;
        let (mut requests, mut answers) = near.into_split();
        let (mut replies, mut onward) = far.into_split();
        let asking = tokio::spawn(async move {
            io::copy(&mut requests, &mut onward).await?;
            onward.shutdown().await
        });
        io::copy(&mut (&mut replies).take(bytes_max), &mut answers).await?;
        asking.abort();
        bytes_max = u64::MAX;
    }
}
