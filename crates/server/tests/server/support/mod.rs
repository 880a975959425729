//! A server of a folder of its own, and the connections that tests make to it.

mod log;
mod reply;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use towline_net::listen::{listen, raise_descriptor_limit};
use towline_net::tls::identity::Identity;
use towline_net::tls::server::Acceptor;
use towline_server::Handle;
use towline_server::Shutdown;
use towline_server::config::Config;
use towline_testkit::deadline::within;
use towline_testkit::skip;
use towline_testkit::tree::write_random_file;

pub(crate) use self::log::Log;
pub(crate) use self::reply::{End, Reply, read_all, read_reply};

/// More than the buffers of two sockets hold, so that a reader can hold such a file's transfer back.
pub(crate) const BIG_BYTES: u64 = 16 << 20;

/// Longer than any test: what ends only after it does not end by itself.
const NEVER: Duration = Duration::from_hours(1);

/// Small, so that a reader who takes nothing is soon felt by the server.
const SMALL_BUFFER_BYTES: u32 = 4 << 10;

/// A server on loopback, in this thread's runtime. It is aborted when dropped.
pub(crate) struct TestServer {
    pub(crate) addr: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) log: Log,
    /// Holds the served folder and a place outside of it.
    ground: TempDir,
    pub(crate) handle: Handle,
    task: JoinHandle<()>,
}

/// Shakes hands with a key that is gone afterwards.
pub(crate) fn acceptor() -> Arc<Acceptor> {
    Arc::new(Acceptor::new(Identity::ephemeral().unwrap()).unwrap())
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// A server whose configuration was adjusted. Unless a test says so, its grace is endless.
    pub(crate) fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let ground = tempfile::tempdir().unwrap();
        let root = ground.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut config = Config::new(root, acceptor());
        config.grace = NEVER;
        adjust(&mut config);
        let log = Log::capture();
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let handle = Handle::new(&config, shutdown.clone()).unwrap();
        let serving = handle.clone();
        let task = tokio::spawn(async move { serving.serve(vec![listener]).await });
        Self { addr, shutdown, log, ground, handle, task }
    }

    /// Where `name` lies in the served folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.ground.path().join("root").join(name)
    }

    /// Where `name` lies beside the served folder.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.ground.path().join(name)
    }

    /// Writes a file to be served, and the folders on its way.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a file of [`BIG_BYTES`], and returns its content too.
    pub(crate) fn write_big(&self, name: &str) -> (PathBuf, Vec<u8>) {
        let path = self.path(name);
        write_random_file(&path, BIG_BYTES, 1).unwrap();
        let content = fs::read(&path).unwrap();
        (path, content)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        connect_from(Ipv4Addr::LOCALHOST.into(), self.addr).await
    }

    /// Asks for `name` and takes the whole reply.
    pub(crate) async fn ask(&self, name: impl AsRef<[u8]>) -> Reply {
        ask_from(Ipv4Addr::LOCALHOST.into(), self.addr, name).await
    }

    /// Sends `bytes`, leaves the writing side open, and takes what comes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> (Vec<u8>, End) {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_all(&mut stream).await
    }

    /// Asks for a big file, and takes nothing of its content but the first byte.
    pub(crate) async fn hold_back(&self, name: &str) -> HeldTransfer {
        let mut stream = connect_with_small_buffer(self.addr).await;
        stream.write_all(&request(name)).await.unwrap();
        let mut begun = vec![0; Reply::header_bytes(name) + 1];
        let read = stream.read_exact(&mut begun);
        within("the content's first byte", read).await.unwrap();
        HeldTransfer { begun, stream }
    }

    /// Shuts down politely, which succeeds only where every connection's task has ended by itself.
    pub(crate) async fn finish(self) {
        self.shutdown.drain();
        self.ended().await;
    }

    /// Waits until the server has ended.
    pub(crate) async fn ended(mut self) {
        let ended = within("the server's end", &mut self.task).await;
        ended.unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cut();
        self.task.abort();
    }
}

/// A transfer under way whose reader has stopped taking.
pub(crate) struct HeldTransfer {
    begun: Vec<u8>,
    stream: TcpStream,
}

impl HeldTransfer {
    /// The client's side of the connection, as the server's log writes it.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Takes the rest.
    pub(crate) async fn release(mut self) -> Reply {
        let (rest, _) = read_all(&mut self.stream).await;
        self.begun.extend(rest);
        Reply::of(self.begun)
    }
}

/// The bytes of a request, whatever its name.
pub(crate) fn request(name: impl AsRef<[u8]>) -> Vec<u8> {
    let name = name.as_ref();
    let length = u32::try_from(name.len()).unwrap();
    [&length.to_be_bytes(), name].concat()
}

/// Asks the server at `addr` for `name`, from one of loopback's addresses, and takes the whole reply.
pub(crate) async fn ask_from(source: IpAddr, addr: SocketAddr, name: impl AsRef<[u8]>) -> Reply {
    let mut stream = connect_from(source, addr).await;
    // Who is turned away may find the connection closed before all is asked: the reply tells.
    let _ = stream.write_all(&request(name)).await;
    read_reply(&mut stream).await
}

/// Asks until it is not cut, as clients do.
pub(crate) async fn ask_until_answered(addr: SocketAddr, name: &str) -> Reply {
    let asking = async {
        loop {
            match ask_from(Ipv4Addr::LOCALHOST.into(), addr, name).await {
                Reply::Cut(_) => tokio::task::yield_now().await,
                reply => return reply,
            }
        }
    };
    within("an answer", asking).await
}

/// Connects from one of loopback's addresses.
pub(crate) async fn connect_from(source: IpAddr, addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    connect(socket, addr).await
}

/// Connects with a receive buffer so small that what is not read soon waits at the server.
pub(crate) async fn connect_with_small_buffer(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL_BUFFER_BYTES).unwrap();
    connect(socket, addr).await
}

async fn connect(socket: TcpSocket, addr: SocketAddr) -> TcpStream {
    let stream = within("a connection", socket.connect(addr)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Claims so many descriptors, or says why the test ends here. Who claims them too waits until the guard is dropped.
pub(crate) async fn many_descriptors(needed: u64) -> Option<MutexGuard<'static, ()>> {
    /// The limit is one for all tests of this process.
    static CLAIMED: Mutex<()> = Mutex::const_new(());
    if raise_descriptor_limit().is_some_and(|limit| limit < needed) {
        skip(&format!("fewer than {needed} descriptors are allowed here"));
        return None;
    }
    Some(CLAIMED.lock().await)
}

/// Whether this process has the file open.
pub(crate) fn is_open(path: &Path) -> bool {
    all_open().any(|target| target == path)
}

/// How many folders and files below a folder this process has open.
pub(crate) fn count_open_below(folder: &Path) -> usize {
    all_open().filter(|target| target.starts_with(folder)).count()
}

fn all_open() -> impl Iterator<Item = PathBuf> {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
}
