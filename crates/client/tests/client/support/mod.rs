//! What the tests share: a download to make, its outcome, and the bytes of requests and replies.

mod honest;
mod record;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::{Digest, Md5};
use tempfile::TempDir;
use tokio::task::JoinSet;
use towline_client::classic::{AttemptError, DownloadError, Downloaded, Options, download};
use towline_client::connect::Address;
use towline_client::retry::Backoff;
use towline_proto::classic::{Header, Request};
use towline_proto::digest::Md5Digest;
use towline_proto::escape::EscapedPath;
use towline_proto::name::RemoteName;
use towline_store::staged::Durability;
use towline_testkit::deadline::within;
use towline_testkit::script::{Script, ScriptServer};

pub(crate) use self::honest::HonestServer;
pub(crate) use self::record::{Record, Retry, Told};

/// The silence that a download bears where none is tested: it never runs out on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a download that failed leaves in its home: the folder that the user named, empty.
pub(crate) const NOTHING_LEFT: [&str; 1] = ["downloads/"];

/// Downloads that run at once; each needs a dozen descriptors.
const SIDE_BY_SIDE_MAX: usize = 24;

/// A download into a folder that is missing at first, in a home of its own. It is not tried again unless
/// a test says so.
pub(crate) struct Fetch {
    home: TempDir,
    pub(crate) options: Options,
}

impl Fetch {
    /// Will fetch `name` from `server`.
    pub(crate) fn new(server: SocketAddr, name: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let options = Options {
            address: address(server),
            request: request(name),
            folder: home.path().join("downloads"),
            silence_max: PATIENCE,
            backoff: Backoff {
                initial: Duration::from_millis(1),
                max: Duration::from_millis(4),
                retries: 0,
            },
            chunk_bytes: 64 << 10,
            durability: Durability::Unsynced,
        };
        Self { home, options }
    }

    /// Tries again this often.
    pub(crate) fn retries(mut self, retries: u32) -> Self {
        self.options.backoff.retries = retries;
        self
    }

    /// Bears this much silence.
    pub(crate) fn silence_max(mut self, silence_max: Duration) -> Self {
        self.options.silence_max = silence_max;
        self
    }

    /// Downloads, within the deadline of every wait.
    pub(crate) async fn run(&self) -> Outcome {
        run(&self.options).await
    }

    /// The folder around the one that is downloaded into.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder that is downloaded into, made if it is missing.
    pub(crate) fn downloads(&self) -> &Path {
        std::fs::create_dir_all(&self.options.folder).expect("a folder can be made");
        &self.options.folder
    }

    /// Everything in the home, as sorted paths; folders end in a slash.
    pub(crate) fn tree(&self) -> Vec<String> {
        let mut paths = Vec::new();
        list(self.home(), "", &mut paths);
        paths.sort();
        paths
    }
}

/// How a download ended, and what it told.
pub(crate) struct Outcome {
    pub(crate) result: Result<Downloaded, DownloadError>,
    pub(crate) told: Vec<Told>,
}

impl Outcome {
    /// The success; anything else fails the test.
    pub(crate) fn downloaded(&self) -> &Downloaded {
        match &self.result {
            Ok(downloaded) => downloaded,
            Err(error) => panic!("{error}"),
        }
    }

    /// The failure; a success fails the test.
    pub(crate) fn error(&self) -> &DownloadError {
        match &self.result {
            Ok(downloaded) => panic!("unexpected success: {downloaded:?}"),
            Err(error) => error,
        }
    }

    /// What the last attempt failed of.
    pub(crate) fn cause(&self) -> &AttemptError {
        &self.error().source
    }

    /// The retries that were told.
    pub(crate) fn retries(&self) -> Vec<&Retry> {
        let retries = self.told.iter().filter_map(|told| match told {
            Told::Retrying(retry) => Some(retry),
            _ => None,
        });
        retries.collect()
    }
}

/// Downloads, within the deadline of every wait.
pub(crate) async fn run(options: &Options) -> Outcome {
    let record = Record::default();
    let result = within("the download", download(options, &record)).await;
    Outcome { result, told: record.into_told() }
}

/// Fetches `name` once from a server that follows `script`, to its end.
pub(crate) async fn fetch_from(script: Script, name: &str) -> (Fetch, Outcome) {
    let server = ScriptServer::start(vec![script]).await;
    let fetch = Fetch::new(server.addr(), name);
    let outcome = fetch.run().await;
    server.finish().await.expect("the server followed its script");
    (fetch, outcome)
}

/// Runs all of `cases`, some at a time; one that fails fails the test.
pub(crate) async fn side_by_side<F>(cases: impl IntoIterator<Item = F>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for case in cases {
        if running.len() == SIDE_BY_SIDE_MAX {
            let ended = running.join_next().await;
            ended.expect("some are running").expect("a case passes");
        }
        running.spawn(case);
    }
    running.join_all().await;
}

/// A server that is asked for `name` and then does what the test adds.
pub(crate) fn asked(name: &str) -> Script {
    Script::new().expect(request(name).encode())
}

/// A server that answers the question for `name` with these bytes and finishes in order.
pub(crate) fn answering(name: &str, reply: impl Into<Vec<u8>>) -> Script {
    asked(name).send(reply).shutdown_write().hold()
}

/// The truthful header of `content`.
pub(crate) fn header(name: &str, content: &[u8]) -> Header {
    Header { name: name.to_owned(), size: content.len() as u64, md5: md5(content) }
}

/// A truthful reply.
pub(crate) fn reply(name: &str, content: &[u8]) -> Vec<u8> {
    [&header(name, content).encode(), content].concat()
}

/// The MD5 of these bytes.
pub(crate) fn md5(bytes: &[u8]) -> Md5Digest {
    Md5Digest(Md5::digest(bytes).into())
}

/// The request for `name`.
pub(crate) fn request(name: &str) -> Request {
    let name = RemoteName::parse(name.as_bytes()).expect("the test asks for a good name");
    Request::new(name).expect("the test asks for UTF-8")
}

/// The server at `addr`.
pub(crate) fn address(addr: SocketAddr) -> Address {
    Address { host: addr.ip().to_string().parse().expect("an IP is a host"), port: addr.port() }
}

/// Fails unless `path` holds exactly `content`; does not print what may be megabytes.
pub(crate) fn assert_holds(path: impl AsRef<Path>, content: &[u8]) {
    let path = path.as_ref();
    let held = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", EscapedPath(path)));
    assert!(held == content, "{} holds {} other bytes", EscapedPath(path), held.len());
}

fn list(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be listed") {
        let path: PathBuf = entry.expect("a folder can be listed").path();
        let name = path.file_name().expect("an entry has a name");
        let name = format!("{prefix}{}", name.to_string_lossy());
        if path.is_dir() && !path.is_symlink() {
            list(&path, &format!("{name}/"), paths);
            paths.push(format!("{name}/"));
        } else {
            paths.push(name);
        }
    }
}
