//! The threads that carry packets from one device to the other, each through a [`Wire`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use tappers::linux::Tun;

use super::wire::{Fate, Wire};
use super::{Counted, MTU_BYTES};

/// While packets keep coming they are fetched this often, many at a time: waking for each would cost
/// several times as much. What comes on an idle link is fetched at once.
const BATCH_EVERY: Duration = Duration::from_micros(250);

/// Packets that are fetched before those that have arrived are handed out.
const FETCHED_MAX: usize = 256;

/// What one direction carried so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    delivered_packets: AtomicU64,
    delivered_bytes: AtomicU64,
    lost_packets: AtomicU64,
    overflowed_packets: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            packets: read(&self.delivered_packets),
            bytes: read(&self.delivered_bytes),
            lost_packets: read(&self.lost_packets),
            overflowed_packets: read(&self.overflowed_packets),
        }
    }
}

/// Says to all threads of a link that it ends.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<OwnedFd>);

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    pub(super) fn raise(&self) {
        // It is never read, and so cannot be full.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// One direction: from where to where, and through what.
pub(super) struct Lane {
    pub(super) from: Arc<Tun>,
    pub(super) to: Arc<Tun>,
    pub(super) wire: Wire<Vec<u8>>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Stop,
    /// What the wire's times are counted from.
    pub(super) started: Instant,
}

impl Lane {
    /// Carries packets in a thread of its own until it is stopped, or a device fails.
    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("link".into()).spawn(move || {
            // A device fails when it is removed from under the link: then nothing passes any more.
            let _ = self.run();
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut buffer = [0; MTU_BYTES];
        loop {
            let fetched = self.fetch(&mut buffer)?;
            self.deliver();
            let stopped = match fetched {
                // The next ones are on their way: let some gather.
                1.. => {
                    thread::sleep(BATCH_EVERY);
                    self.wait(Some(Duration::ZERO))?
                }
                0 => self.wait(self.until_next_arrival())?,
            };
            if stopped {
                return Ok(());
            }
        }
    }

    /// Takes what the device has, up to a limit, and hands it to the wire; returns how many.
    fn fetch(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let now = self.started.elapsed();
        for fetched in 0..FETCHED_MAX {
            let length = match self.from.recv(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(fetched),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let packet = buffer[..length].to_vec();
            match self.wire.offer(now, length as u64, packet) {
                Fate::Arrives(_) => {}
                Fate::Lost => add(&self.counters.lost_packets, 1),
                Fate::Overflowed => add(&self.counters.overflowed_packets, 1),
            }
        }
        Ok(FETCHED_MAX)
    }

    /// Hands out what has arrived by now.
    fn deliver(&mut self) {
        let now = self.started.elapsed();
        while let Some(packet) = self.wire.take(now) {
            // Counted first: who sees the packet finds it counted.
            add(&self.counters.delivered_packets, 1);
            add(&self.counters.delivered_bytes, packet.len() as u64);
            // The receiving end takes it or drops it, as a host does whose card has no room.
            let _ = self.to.send(&packet);
        }
    }

    fn until_next_arrival(&self) -> Option<Duration> {
        let arrival = self.wire.next_arrival()?;
        Some(arrival.saturating_sub(self.started.elapsed()))
    }

    /// Waits for a packet, for at most `timeout`; tells whether the link ends.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut watched =
            [PollFd::new(&*self.from, PollFlags::IN), PollFd::new(&*self.stop.0, PollFlags::IN)];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) => Ok(!watched[1].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
