//! One connection through the proxy: two pumps, and how the connection ends.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::injector::{Action, Injector};
use super::plan::{Direction, Plan, Recording};

const CHUNK_BYTES: usize = 64 << 10;

/// An orderly close discards this much from each side, for this long: unread bytes would turn it
/// into a reset.
const DRAIN_BYTES_MAX: u64 = 1 << 20;
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A throttled direction sends this many slices a second.
const SLICES_PER_S: u64 = 20;

/// How many bytes were forwarded so far, in each direction.
#[derive(Debug)]
pub(super) struct Forwarded {
    to_server: watch::Sender<u64>,
    to_client: watch::Sender<u64>,
}

impl Forwarded {
    pub(super) fn new() -> Self {
        Self { to_server: watch::Sender::new(0), to_client: watch::Sender::new(0) }
    }

    pub(super) fn counter(&self, direction: Direction) -> &watch::Sender<u64> {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}

/// What ends both directions at once.
enum Break {
    /// Both sides are to be reset.
    Reset,
    /// Both sides are to be closed in order.
    Close,
}

/// Carries bytes both ways under `plan`, until both directions or the connection have ended.
pub(super) async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    plan: &Plan,
    forwarded: &Forwarded,
) {
    let result = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump = |source, sink, direction| {
            let line =
                Line { sink, forwarded: forwarded.counter(direction), pace: Pace::default() };
            pump(source, line, Injector::new(plan, direction), plan.recording(direction))
        };
        tokio::try_join!(
            pump(from_client, to_server, Direction::ToServer),
            pump(from_server, to_client, Direction::ToClient),
        )
    };
    match result {
        Ok(_) => {}
        Err(Break::Close) => {
            tokio::join!(close(client), close(server));
        }
        Err(Break::Reset) => {
            reset(client);
            reset(server);
        }
    }
}

/// Resets a connection: what waits in its buffers is lost.
pub(super) fn reset(stream: TcpStream) {
    // Fails only where the peer was first to end the connection, which is as well.
    let _ = stream.set_zero_linger();
    drop(stream);
}

async fn close(mut stream: TcpStream) {
    // A peer that has already gone needs no goodbye.
    let _ = stream.shutdown().await;
    let mut rest = stream.take(DRAIN_BYTES_MAX);
    let _ = timeout(DRAIN_MAX, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// Carries one direction until its sender has finished, or its receiver takes no more.
async fn pump(
    mut source: ReadHalf<'_>,
    mut line: Line<'_>,
    mut injector: Injector,
    recording: Option<&Recording>,
) -> Result<(), Break> {
    let mut chunk = vec![0; CHUNK_BYTES];
    // The first round has no bytes: it strikes what is due before byte 0.
    let mut length = 0;
    loop {
        for action in injector.pass(&mut chunk[..length]) {
            let sent = match action {
                Action::Forward(range) => line.send(&chunk[range]).await,
                Action::Repeat(bytes) => line.send(&bytes).await,
                Action::Pause(duration) => {
                    sleep(duration).await;
                    Ok(())
                }
                Action::Hold(gate) => {
                    gate.opened().await;
                    Ok(())
                }
                Action::Throttle { bytes_per_s } => {
                    line.pace = Pace::new(bytes_per_s);
                    Ok(())
                }
                Action::Stall => std::future::pending().await,
                Action::Cut => return Err(Break::Reset),
                Action::Close => return Err(Break::Close),
            };
            if sent.is_err() {
                // What this receiver has sent still has its way to go: its last words may be there.
                return Ok(());
            }
        }
        length = match source.read(&mut chunk).await {
            Ok(0) => {
                // Fails only where the receiver has gone already.
                let _ = line.sink.shutdown().await;
                return Ok(());
            }
            Ok(length) => length,
            Err(_) => return Err(Break::Reset),
        };
        if let Some(recording) = recording {
            recording.append(&chunk[..length]);
        }
    }
}

/// The sending end of a direction: counts, and keeps to the pace.
struct Line<'a> {
    sink: WriteHalf<'a>,
    forwarded: &'a watch::Sender<u64>,
    pace: Pace,
}

impl Line<'_> {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for slice in bytes.chunks(self.pace.slice_bytes) {
            if let Some(due) = self.pace.due {
                sleep_until(due).await;
            }
            self.sink.write_all(slice).await?;
            self.forwarded.send_modify(|count| *count += slice.len() as u64);
            self.pace.sent(slice.len(), Instant::now());
        }
        Ok(())
    }
}

/// When the next slice may go; by default at once.
struct Pace {
    /// 0 where the rate is not limited.
    bytes_per_s: u64,
    slice_bytes: usize,
    due: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bytes_per_s: 0, slice_bytes: CHUNK_BYTES, due: None }
    }
}

impl Pace {
    fn new(bytes_per_s: u64) -> Self {
        let slice_bytes = usize::try_from(bytes_per_s / SLICES_PER_S).unwrap_or(CHUNK_BYTES);
        let slice_bytes = slice_bytes.clamp(1, CHUNK_BYTES);
        Self { bytes_per_s: bytes_per_s.max(1), slice_bytes, due: None }
    }

    /// Time in which nothing was there to send is lost: the rate is a cap, not an average.
    fn sent(&mut self, bytes: usize, now: Instant) {
        let nanos = (bytes as u64 * 1_000_000_000).checked_div(self.bytes_per_s);
        if let Some(nanos) = nanos {
            let from = self.due.map_or(now, |due| due.max(now));
            self.due = Some(from + Duration::from_nanos(nanos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_spaces_slices_by_their_time_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000);
        assert_eq!((pace.slice_bytes, pace.due), (50, None));
        pace.sent(50, start);
        assert_eq!(pace.due, Some(start + Duration::from_millis(50)));
        pace.sent(50, start + Duration::from_secs(9));
        assert_eq!(pace.due, Some(start + Duration::from_millis(9_050)));
    }

    #[test]
    fn the_slowest_pace_is_a_byte_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(0);
        pace.sent(pace.slice_bytes, start);
        assert_eq!(pace.due, Some(start + Duration::from_secs(1)));
    }

    #[test]
    fn without_a_throttle_nothing_waits() {
        let mut pace = Pace::default();
        pace.sent(CHUNK_BYTES, Instant::now());
        assert_eq!(pace.due, None);
    }
}
