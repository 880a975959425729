//! A piece that comes over two connections: what the later one brings cannot spoil what is verified.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use towline_client::monitor::{Event, Monitor};
use towline_client::native::Connections;
use towline_proto::native::frame::{HEADER_BYTES, Header};
use towline_proto::native::message::{Answer, Request};
use towline_proto::native::preface::{PREFACE_BYTES, Preface};
use towline_testkit::tree::random_bytes;

use super::support::{Fetch, data, info, piece_bytes, piece_end};
use crate::support::assert_holds;

const SIZE: usize = (8 << 20) + 5;

/// How far the play has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// The first connection is silent, the second brings every piece but the first.
    Held,
    /// The first connection brings what it was asked for, all of it damaged.
    Spoiling,
    /// The second connection brings the first piece.
    Ending,
}

struct Play {
    content: Vec<u8>,
    act: watch::Sender<Act>,
    /// Pieces that came damaged, as the client tells.
    damaged: watch::Sender<usize>,
}

impl Play {
    async fn wait(&self, awaited: Act) {
        let mut act = self.act.subscribe();
        act.wait_for(|act| *act >= awaited).await.expect("the play has an act");
    }

    /// Begins an act that comes after the present one.
    fn begin(&self, next: Act) {
        self.act.send_if_modified(|act| {
            let is_later = next > *act;
            *act = next.max(*act);
            is_later
        });
    }

    /// The first connection: damages all that it was asked for before the second was asked for the first piece.
    async fn spoil(&self, mut stream: TcpStream) -> io::Result<()> {
        greet(&mut stream, &self.content).await?;
        let Request::Fetch { runs, .. } = read_request(&mut stream).await? else { return Ok(()) };
        self.wait(Act::Spoiling).await;
        let mut spoiled = 0;
        for index in runs.into_iter().flatten() {
            let mut bytes = piece_bytes(&self.content, index).to_vec();
            bytes[0] ^= 1;
            stream.write_all(&[data(&bytes), piece_end(&self.content, index)].concat()).await?;
            spoiled += 1;
        }
        let mut damaged = self.damaged.subscribe();
        damaged.wait_for(|damaged| *damaged >= spoiled).await.expect("the client goes on");
        self.begin(Act::Ending);
        // Until the client leaves.
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    }

    /// The second connection: honest, but slow with the first piece.
    async fn bring(&self, mut stream: TcpStream) -> io::Result<()> {
        greet(&mut stream, &self.content).await?;
        loop {
            let Request::Fetch { runs, .. } = read_request(&mut stream).await? else {
                return Ok(());
            };
            for index in runs.into_iter().flatten() {
                if index == 0 {
                    self.begin(Act::Spoiling);
                    self.wait(Act::Ending).await;
                }
                let bytes = piece_bytes(&self.content, index);
                stream.write_all(&[data(bytes), piece_end(&self.content, index)].concat()).await?;
            }
            stream.write_all(&Answer::Done.encode()).await?;
        }
    }
}

impl Monitor for Play {
    fn on_event(&self, event: &Event<'_>) {
        if matches!(event, Event::Damaged { .. }) {
            self.damaged.send_modify(|damaged| *damaged += 1);
        }
    }
}

async fn greet(stream: &mut TcpStream, content: &[u8]) -> io::Result<()> {
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    read_request(stream).await?;
    let info = Answer::Info(info(content)).encode();
    stream.write_all(&[&Preface::OURS.encode()[..], &info].concat()).await
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Request> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let header = Header::decode(&header).expect("the client makes good frames");
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).await?;
    Ok(Request::decode(header.kind, &payload).expect("the client makes good requests"))
}

/// Plays to the first two connections; others are let go.
async fn perform(listener: TcpListener, play: Arc<Play>) {
    let mut actors = JoinSet::new();
    for number in 0..2 {
        let (stream, _) = listener.accept().await.expect("loopback accepts");
        let play = Arc::clone(&play);
        // A client that leaves ends the play.
        actors.spawn(async move {
            let acted =
                if number == 0 { play.spoil(stream).await } else { play.bring(stream).await };
            acted.ok()
        });
    }
    actors.join_all().await;
}

#[tokio::test]
async fn a_damaged_duplicate_does_not_spoil_a_verified_piece() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let play = Arc::new(Play {
        content: random_bytes(SIZE, 1),
        act: watch::Sender::new(Act::Held),
        damaged: watch::Sender::new(0),
    });
    let performing = tokio::spawn(perform(listener, Arc::clone(&play)));
    let mut fetch = Fetch::new(addr);
    fetch.options.connections = Connections::Exactly(2);
    let downloaded = fetch.run_watched(&*play).await.unwrap();
    assert!(downloaded.tally.repaired_bytes > 1 << 20, "{:?}", downloaded.tally);
    assert_holds(fetch.target(), &play.content);
    performing.abort();
}
