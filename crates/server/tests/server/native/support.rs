//! A peer that speaks the native protocol, or only begins to.

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towline_net::peeked::Peeked;
use towline_net::stream::Stream;
use towline_net::tls::Expectation;
use towline_net::tls::client::Connector;
use towline_proto::name::RemoteName;
use towline_proto::native::frame::{HEADER_BYTES, Header, Kind};
use towline_proto::native::message::{Answer, ErrorCode, Info, Refusal, Request, Version};
use towline_proto::native::preface::{PREFACE_BYTES, Preface};
use towline_testkit::deadline::within;

use crate::support::{TestServer, connect_from, connect_with_small_buffer, read_all};

/// Size of a piece in bytes.
pub(crate) const MIB: usize = 1 << 20;

/// One frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// So many bytes of content.
    Content(usize),
    Answer(Answer),
}

/// A session whose prefaces are exchanged.
pub(crate) struct Peer {
    stream: Stream,
}

impl Peer {
    pub(crate) async fn greet(server: &TestServer) -> Self {
        Self::over(Stream::plain(server.connect().await)).await
    }

    /// A peer whose session is encrypted.
    pub(crate) async fn greet_encrypted(server: &TestServer) -> Self {
        Self::encrypted_from(Ipv4Addr::LOCALHOST.into(), server).await
    }

    /// The same, from one of loopback's addresses.
    pub(crate) async fn encrypted_from(source: IpAddr, server: &TestServer) -> Self {
        let connector = Connector::new("127.0.0.1", Expectation::Anything(None)).unwrap();
        let stream = Peeked::new(connect_from(source, server.addr).await);
        let shaken = within("a handshake", connector.connect(stream)).await.unwrap();
        Self::over(Stream::tls(shaken)).await
    }

    /// A peer that takes little of what it does not read.
    pub(crate) async fn greet_with_small_buffer(server: &TestServer) -> Self {
        Self::over(Stream::plain(connect_with_small_buffer(server.addr).await)).await
    }

    pub(crate) async fn over(mut stream: Stream) -> Self {
        stream.write_all(&Preface::OURS.encode()).await.unwrap();
        stream.flush().await.unwrap();
        let mut preface = [0; PREFACE_BYTES];
        within("the server's preface", stream.read_exact(&mut preface)).await.unwrap();
        Preface::decode(&preface).unwrap();
        Self { stream }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn ask(&mut self, request: &Request) {
        self.send(&request.encode()).await;
    }

    /// The next frame, heartbeats too.
    pub(crate) async fn next(&mut self) -> Frame {
        let mut header = [0; HEADER_BYTES];
        self.read(&mut header).await;
        let header = Header::decode(&header).unwrap();
        let mut payload = vec![0; header.length];
        self.read(&mut payload).await;
        if header.kind == Kind::Data {
            return Frame::Content(payload.len());
        }
        header.check(&payload).unwrap();
        Frame::Answer(Answer::decode(header.kind, &payload).unwrap())
    }

    async fn read(&mut self, bytes: &mut [u8]) {
        within("a frame", self.stream.read_exact(bytes)).await.unwrap();
    }

    /// Asks what a name is.
    pub(crate) async fn stat(&mut self, name: &str) -> Info {
        self.ask(&stat(name)).await;
        loop {
            match self.next().await {
                Frame::Answer(Answer::Info(info)) => return info,
                // They may come before any answer.
                Frame::Answer(Answer::Heartbeat) => {}
                other => panic!("{name} is not described: {other:?}"),
            }
        }
    }

    /// The refusal that comes next.
    pub(crate) async fn refusal(&mut self) -> Refusal {
        match self.next().await {
            Frame::Answer(Answer::Error(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Fails unless the next answer is a refusal of this kind.
    pub(crate) async fn assert_refused(&mut self, code: ErrorCode) {
        let refusal = self.refusal().await;
        assert_eq!(refusal.code, code, "{refusal:?}");
    }

    /// Says that nothing more will be asked, and takes what comes until the end.
    pub(crate) async fn half_close(mut self) -> Vec<u8> {
        self.stream.shutdown().await.unwrap();
        self.ended().await
    }

    /// All that comes until the server ends the session.
    pub(crate) async fn ended(mut self) -> Vec<u8> {
        read_all(&mut self.stream).await.0
    }
}

pub(crate) fn name(name: &str) -> RemoteName {
    RemoteName::parse(name.as_bytes()).unwrap()
}

pub(crate) fn stat(of: &str) -> Request {
    Request::Stat { name: name(of) }
}

pub(crate) fn fetch(of: &str, info: &Info, first: u32, end: u32) -> Request {
    let version = info.version.clone();
    Request::Fetch { name: name(of), version, runs: std::iter::once(first..end).collect() }
}

pub(crate) fn hashes(of: &str, version: &Version, first: u32, end: u32) -> Request {
    Request::Hashes { name: name(of), version: version.clone(), pieces: first..end }
}

/// The frames of a control message with a payload that no sound peer makes.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    header(length, kind, crc32c::crc32c_append(crc32c::crc32c(&covered(length, kind)), payload))
        .into_iter()
        .chain(payload.iter().copied())
        .collect()
}

/// A frame's header with any checksum.
pub(crate) fn header(length: u32, kind: u8, crc: u32) -> Vec<u8> {
    [&covered(length, kind)[..], &crc.to_be_bytes()].concat()
}

fn covered(length: u32, kind: u8) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[kind]].concat()
}
