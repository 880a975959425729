//! A small server that speaks the classic protocol as it should: one file, any number of clients.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use towline_proto::classic::{Reply, Request};
use towline_proto::codec::Decoded;

use super::{reply, request};

/// Serves until it is dropped.
pub(crate) struct HonestServer {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

struct Served {
    request: Request,
    reply: Vec<u8>,
}

impl HonestServer {
    /// Serves `content` as `name` on a free port of loopback.
    pub(crate) async fn start(name: &str, content: &[u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        Self::on(listener.expect("loopback has a free port"), name, content)
    }

    /// Serves `content` as `name` on this socket.
    pub(crate) fn on(listener: TcpListener, name: &str, content: &[u8]) -> Self {
        let addr = listener.local_addr().expect("a bound socket has an address");
        let served = Served { request: request(name), reply: reply(name, content) };
        let task = tokio::spawn(serve(listener, Arc::new(served)));
        Self { addr, task }
    }

    /// Where clients connect to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for HonestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, served: Arc<Served>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("loopback accepts");
                let served = Arc::clone(&served);
                // A client that goes away is none of this server's concern.
                clients.spawn(async move { answer(stream, &served).await.ok() });
            }
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn answer(mut stream: TcpStream, served: &Served) -> io::Result<()> {
    match read_request(&mut stream).await? {
        Some(request) if request == served.request => stream.write_all(&served.reply).await?,
        Some(_) => {
            let refusal = Reply::encode_refusal("no such file");
            stream.write_all(&refusal).await?;
        }
        None => {}
    }
    stream.shutdown().await?;
    copy(&mut stream, &mut sink()).await?;
    Ok(())
}

/// Reads no further than the request's end; `None` where the bytes are none.
async fn read_request(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    loop {
        match Request::decode(&bytes) {
            Ok(Decoded::Done(request)) => return Ok(Some(request)),
            Ok(Decoded::NeedMore(missing)) => {
                let read = bytes.len();
                bytes.resize(read + missing, 0);
                stream.read_exact(&mut bytes[read..]).await?;
            }
            Err(_) => return Ok(None),
        }
    }
}
