//! Carries out the steps of a script on one connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::failure::{Difference, Failure, ScriptError};
use super::{ENDLESS_BYTES_MAX, RECEIVED_BYTES_MAX, Script, Step};

const CHUNK_BYTES: usize = 64 << 10;

/// An endless stream is written in blocks of about this size, however short what it repeats.
const BLOCK_BYTES: usize = 64 << 10;

/// Runs `script` on `stream`, which is connection number `connection`; returns all bytes that came.
pub(super) async fn run(
    script: Script,
    stream: TcpStream,
    connection: usize,
) -> Result<Vec<u8>, ScriptError> {
    // Each `send` is its own segment, also a single byte of a slow one.
    let _ = stream.set_nodelay(true);
    let mut peer = Peer { stream, received: Vec::new() };
    for (index, step) in script.steps.iter().enumerate() {
        let time_max = time_max(script.deadline, step);
        let result = match timeout(time_max, peer.carry_out(step)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Late(time_max)),
        };
        if let Err(failure) = result {
            return Err(ScriptError {
                connection,
                step: index + 1,
                doing: step.to_string(),
                failure,
                received: peer.received,
            });
        }
    }
    Ok(peer.received)
}

/// How long a step may take: the deadline, on top of the time that it takes by itself.
fn time_max(deadline: Duration, step: &Step) -> Duration {
    let least = match step {
        Step::SendSlowly { bytes, every } => {
            every.saturating_mul(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
        }
        _ => Duration::ZERO,
    };
    deadline.saturating_add(least)
}

struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    async fn carry_out(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Expect(bytes) => self.expect(bytes).await,
            Step::ExpectAny(length) => {
                let start = self.received.len();
                self.receive_up_to(start, *length, |_| Ok(())).await
            }
            Step::Send(bytes) => Ok(self.stream.write_all(bytes).await?),
            Step::SendEndless(bytes) => self.send_endless(bytes).await,
            Step::SendSlowly { bytes, every } => self.send_slowly(bytes, *every).await,
            Step::ShutdownWrite => Ok(self.stream.shutdown().await?),
            Step::ReadToEnd => self.read_to_end().await,
            Step::Hold => match self.read_to_end().await {
                Err(Failure::Io(error)) if is_gone(&error) => Ok(()),
                other => other,
            },
            Step::Reset => Ok(self.stream.set_zero_linger()?),
        }
    }

    async fn expect(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let start = self.received.len();
        // Compared as it comes: a peer that sends something else may never send as much.
        let compare = |received: &[u8]| match Difference::between(bytes, received) {
            Some(difference) => Err(Failure::Differs(Box::new(difference))),
            None => Ok(()),
        };
        self.receive_up_to(start, bytes.len(), compare).await
    }

    /// Receives until `wanted_bytes` lie behind `start`, and checks them after each read.
    async fn receive_up_to(
        &mut self,
        start: usize,
        wanted_bytes: usize,
        check: impl Fn(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let got_bytes = self.received.len() - start;
            if got_bytes == wanted_bytes {
                return Ok(());
            }
            if self.receive(wanted_bytes - got_bytes).await? == 0 {
                return Err(Failure::Ended { got_bytes, wanted_bytes });
            }
            check(&self.received[start..])?;
        }
    }

    async fn read_to_end(&mut self) -> Result<(), Failure> {
        while self.receive(CHUNK_BYTES).await? > 0 {}
        Ok(())
    }

    /// Receives at most `most` bytes with one read; 0 is the end.
    async fn receive(&mut self, most: usize) -> Result<usize, Failure> {
        if self.received.len() >= RECEIVED_BYTES_MAX {
            return Err(Failure::TooMuch(RECEIVED_BYTES_MAX));
        }
        let most = most.min(CHUNK_BYTES) as u64;
        // Appends only what came, so that a step cut off by its deadline leaves no trace of its
        // buffer.
        Ok((&mut self.stream).take(most).read_buf(&mut self.received).await?)
    }

    async fn send_endless(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let block = bytes.repeat(BLOCK_BYTES.div_ceil(bytes.len().max(1)));
        let mut sent: u64 = 0;
        while sent < ENDLESS_BYTES_MAX && !block.is_empty() {
            match self.stream.write_all(&block).await {
                Ok(()) => sent += block.len() as u64,
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::StillOpen(sent))
    }

    async fn send_slowly(&mut self, bytes: &[u8], every: Duration) -> Result<(), Failure> {
        for byte in bytes {
            match self.stream.write_all(std::slice::from_ref(byte)).await {
                Ok(()) => sleep(every).await,
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether the peer has closed or reset the connection.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_send_may_exceed_the_deadline_of_a_step_by_its_own_time() {
        let deadline = Duration::from_millis(100);
        let slow = Step::SendSlowly { bytes: vec![1; 10], every: Duration::from_millis(20) };
        assert_eq!(time_max(deadline, &slow), Duration::from_millis(300));
        assert_eq!(time_max(deadline, &Step::Send(vec![1; 10])), deadline);
    }
}
