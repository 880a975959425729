//! A native download to make, and the bytes that a server, honest or not, would say.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use towline_client::native::{
    Busy, Connections, DownloadError, Downloaded, Failure, Keep, Options, Server, SessionError,
    download,
};
use towline_client::retry::Backoff;
use towline_client::throttle::SharedThrottle;
use towline_proto::name::RemoteName;
use towline_proto::native::frame::data_header;
use towline_proto::native::message::{Answer, ErrorCode, Info, Refusal, Request, Version};
use towline_proto::native::preface::Preface;
use towline_proto::piece::{Geometry, PieceHash, PieceHasher};
use towline_store::staged::{Durability, Existing};
use towline_testkit::deadline::within;
use towline_testkit::script::{Script, ScriptServer};

use crate::support::{PATIENCE, Record, address};

/// What the honest server has, unless a test says so: one piece.
pub(super) const CONTENT: &[u8] = b"the content of the file";

/// A download of `file` over one connection, into a home of its own. It is not tried again unless a test says so.
pub(super) struct Fetch {
    home: TempDir,
    /// All but the silence that is borne.
    pub(super) options: Options,
    pub(super) silence_max: Duration,
}

impl Fetch {
    pub(super) fn new(server: std::net::SocketAddr) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let options = Options {
            server: Server::new(address(server), None, PATIENCE),
            name: name(),
            folder: home.path().to_owned().into(),
            target: name(),
            busy: Busy::Fail,
            existing: Existing::Refuse,
            connections: Connections::Exactly(1),
            backoff: Backoff {
                initial: Duration::from_millis(1),
                max: Duration::from_millis(4),
                retries: 0,
            },
            durability: Durability::Unsynced,
            limit: SharedThrottle::new(None),
            keep: Keep::Nothing,
            expected: None,
        };
        Self { home, options, silence_max: PATIENCE }
    }

    /// Downloads, within the deadline of every wait.
    pub(super) async fn run(&self) -> Result<Downloaded, DownloadError> {
        self.run_watched(&Record::default()).await
    }

    pub(super) async fn run_watched(
        &self,
        monitor: &dyn towline_client::monitor::Monitor,
    ) -> Result<Downloaded, DownloadError> {
        // Its sessions end with it, as those of a process do.
        let address = self.options.server.address().clone();
        let server = Server::new(address, None, self.silence_max);
        let options = Options { server, ..self.options.clone() };
        within("the download", download(&options, monitor)).await
    }

    /// Where the result would be.
    pub(super) fn target(&self) -> PathBuf {
        self.home.path().join("file")
    }
}

/// Fetches once from a server that follows `script` to its end.
pub(super) async fn fetch_from(script: Script) -> (Fetch, Result<Downloaded, DownloadError>) {
    let server = ScriptServer::start(vec![script]).await;
    let fetch = Fetch::new(server.addr());
    let result = fetch.run().await;
    server.finish().await.expect("the server followed its script");
    (fetch, result)
}

/// Fails unless the only session failed as `expected`, and left nothing under the final name.
pub(super) async fn fails(script: Script, expected: impl Fn(&SessionError) -> bool) {
    let (fetch, result) = fetch_from(script).await;
    let failure = result.expect_err("an error").failure;
    assert!(matches!(&failure, Failure::Session { error, .. } if expected(error)), "{failure:?}");
    assert!(!fetch.target().exists());
}

pub(super) fn name() -> RemoteName {
    RemoteName::parse(b"file").expect("it is a good name")
}

pub(super) fn version() -> Version {
    Version::new(b"a version").expect("it is short")
}

/// What an honest server says of `content`, knowing no hash of it.
pub(super) fn info(content: &[u8]) -> Info {
    let size = content.len() as u64;
    Info {
        version: version(),
        geometry: Geometry::of(size).expect("it is small"),
        modified_ns: 0,
        mode: 0o644,
        root: None,
        stored_bytes: size,
    }
}

/// A server that is greeted and asked what `file` is.
pub(super) fn greeted() -> Script {
    let stat = Request::Stat { name: name() }.encode();
    Script::new().expect([&Preface::OURS.encode()[..], &stat].concat())
}

/// A server that has greeted as well, and answers the question with this.
pub(super) fn described(answer: &Answer) -> Script {
    greeted().send(Preface::OURS.encode()).send(answer.encode())
}

/// The request for the pieces of a run.
pub(super) fn fetch_request(first: u32, end: u32) -> Vec<u8> {
    let runs = std::iter::once(first..end).collect();
    Request::Fetch { name: name(), version: version(), runs }.encode()
}

/// A server that has described [`CONTENT`] and was asked for its only piece.
pub(super) fn asked_for_content() -> Script {
    described(&Answer::Info(info(CONTENT))).expect(fetch_request(0, 1))
}

/// The bytes of a piece in a frame.
pub(super) fn data(bytes: &[u8]) -> Vec<u8> {
    [&data_header(bytes.len())[..], bytes].concat()
}

/// The end of a piece with the hash that it really has.
pub(super) fn piece_end(content: &[u8], index: u32) -> Vec<u8> {
    Answer::Piece { index, hash: piece_hash(content, index) }.encode()
}

/// The bytes of a piece of `content`.
pub(super) fn piece_bytes(content: &[u8], index: u32) -> &[u8] {
    let range = info(content).geometry.piece(index).expect("there is such a piece");
    let at = |offset| usize::try_from(offset).expect("it is in memory");
    &content[at(range.start)..at(range.end)]
}

pub(super) fn piece_hash(content: &[u8], index: u32) -> PieceHash {
    let mut hasher =
        PieceHasher::new(info(content).geometry, index).expect("there is such a piece");
    hasher.update(piece_bytes(content, index));
    hasher.finish().expect("all its bytes were taken")
}

/// A truthful answer for the only piece of [`CONTENT`].
pub(super) fn whole_answer() -> Vec<u8> {
    [data(CONTENT), piece_end(CONTENT, 0), Answer::Done.encode()].concat()
}

/// A refusal of a request.
pub(super) fn refusal(code: ErrorCode, text: &str, retry: bool) -> Answer {
    Answer::Error(Refusal { code, text: text.to_owned(), retry })
}
