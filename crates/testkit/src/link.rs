//! A long, lossy link: two network namespaces, and packets of real TCP between them through a delay,
//! a rate, a queue and a seeded loss, all in user space. For Linux, and for root.
//!
//! ```no_run
//! # fn example() -> Result<(), towline_testkit::link::LinkError> {
//! use std::time::Duration;
//! use towline_testkit::link::{Link, LinkOptions};
//!
//! let link = Link::up(&LinkOptions {
//!     rtt: Duration::from_millis(200),
//!     rate_bits_per_s: 100_000_000,
//!     loss_ppm: 10_000,
//!     ..LinkOptions::default()
//! })?;
//! let server = link.far().command("towline").args(["serve", "--bind", "0.0.0.0"]).spawn();
//! // ... `link.near().command("towline")` gets from `link.far().address()` ...
//! println!("{:?}", link.statistics().to_near);
//! # Ok(())
//! # }
//! ```
//!
//! What happens to a packet is decided in `wire`, without devices; `forward` carries it out, one
//! thread for each direction; `namespace` makes and removes the ends. The packets are those of an
//! Ethernet, 1,500 bytes, never merged: each is lost by itself. Rates count their IP bytes.

mod congestion;
mod forward;
mod namespace;
mod wire;

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tappers::Interface;
use tappers::linux::Tun;

use self::forward::{Counters, Lane, Stop};
pub use self::namespace::End;
use self::namespace::{Namespace, ip, remove_stale};
use self::wire::{Shape, Wire};

/// Bytes of an IP packet at most, as on an Ethernet.
const MTU_BYTES: usize = 1_500;

/// The least that a queue holds unless it is asked for: a burst of a sender's first window fits.
const QUEUE_PACKETS_MIN: u64 = 64;

/// Packets that a device keeps until the link fetches them. None is lost there: that loss would not
/// be counted.
const DEVICE_PACKETS_MAX: &str = "50000";

/// Links that this process has made; part of their names.
static LINKS: AtomicU32 = AtomicU32::new(0);

/// What a link is like, the same in both directions.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// The delay of both directions together, without sending and queueing.
    pub rtt: Duration,
    /// Bits of IP packets that pass per second.
    pub rate_bits_per_s: u64,
    /// Packets that are lost, of a million, each by itself.
    pub loss_ppm: u32,
    /// Bytes that may wait to be sent; packets beyond are dropped. By default as many as pass in an
    /// RTT, but at least 64 packets of 1,500.
    pub queue_bytes: Option<u64>,
    /// Decides which packets are lost.
    pub seed: u64,
}

impl Default for LinkOptions {
    /// 100 Mbit/s, 50 ms, no loss.
    fn default() -> Self {
        Self {
            rtt: Duration::from_millis(50),
            rate_bits_per_s: 100_000_000,
            loss_ppm: 0,
            queue_bytes: None,
            seed: 1,
        }
    }
}

impl LinkOptions {
    fn shape(&self) -> Shape {
        let in_an_rtt = u128::from(self.rate_bits_per_s) * self.rtt.as_nanos() / 8_000_000_000;
        let in_an_rtt = u64::try_from(in_an_rtt).unwrap_or(u64::MAX);
        let default = in_an_rtt.max(QUEUE_PACKETS_MIN * MTU_BYTES as u64);
        Shape {
            delay: self.rtt / 2,
            rate_bits_per_s: self.rate_bits_per_s,
            loss_ppm: self.loss_ppm,
            queue_bytes: self.queue_bytes.unwrap_or(default),
        }
    }
}

/// Why a link could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A program of iproute2 did not do what it was told.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// As one would type it.
        command: String,
        /// What it said.
        reason: String,
    },
    /// The kernel gave no device, or no thread to serve it.
    #[error("cannot make {what}: {source}")]
    Device {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A congestion control that this kernel does not have, or does not allow.
    #[error("cannot set the congestion control {name}: {reason}")]
    CongestionControl {
        /// Its name.
        name: String,
        /// What the kernel said.
        reason: String,
    },
}

/// What one direction did so far. Packets under way are in none of the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Packets that arrived.
    pub packets: u64,
    /// Their bytes, with their IP headers.
    pub bytes: u64,
    /// Packets that were lost on the way.
    pub lost_packets: u64,
    /// Packets for which the queue had no room.
    pub overflowed_packets: u64,
}

/// What both directions did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// From the far end to the near one.
    pub to_near: Counted,
    /// From the near end to the far one.
    pub to_far: Counted,
}

/// A link that is up. Dropping it ends every process in its namespaces and removes them.
#[derive(Debug)]
pub struct Link {
    near: End,
    far: End,
    to_near: Arc<Counters>,
    to_far: Arc<Counters>,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
    _namespaces: [Namespace; 2],
}

impl Link {
    /// What stands in the way of a link here, if anything does.
    pub fn obstacle() -> Option<&'static str> {
        if !geteuid().is_root() {
            Some("a link needs root")
        } else if Command::new("ip").arg("-V").output().is_err() {
            Some("a link needs ip, of iproute2")
        } else if !Path::new("/dev/net/tun").exists() {
            Some("a link needs /dev/net/tun")
        } else {
            None
        }
    }

    /// Makes both ends and what lies between them. Sockets have the congestion control cubic, the
    /// default of most hosts, whatever it is here.
    pub fn up(options: &LinkOptions) -> Result<Self, LinkError> {
        remove_stale();
        let (pid, number) = (std::process::id(), LINKS.fetch_add(1, Ordering::Relaxed));
        let end = |side: char, last| {
            let namespace = Namespace::new(format!("towline-{pid}-{number}{side}"))?;
            let address = Ipv4Addr::new(10, 71, 0, last);
            let end = End::new(namespace.name(), address);
            let device = device(&format!("tl{pid}-{number}{side}"), &end)?;
            end.set_congestion_control("cubic")?;
            Ok::<_, LinkError>((namespace, end, device))
        };
        let (near_namespace, near, near_device) = end('n', 1)?;
        let (far_namespace, far, far_device) = end('f', 2)?;

        let failed = |source| LinkError::Device { what: "the link's threads", source };
        let mut link = Self {
            near,
            far,
            to_near: Arc::default(),
            to_far: Arc::default(),
            stop: Stop::new().map_err(failed)?,
            threads: Vec::new(),
            _namespaces: [near_namespace, far_namespace],
        };
        let lane = |from: &Arc<_>, to: &Arc<_>, counters: &Arc<_>, seed| Lane {
            from: Arc::clone(from),
            to: Arc::clone(to),
            wire: Wire::new(options.shape(), seed),
            counters: Arc::clone(counters),
            stop: link.stop.clone(),
            started: Instant::now(),
        };
        let lanes = [
            lane(&far_device, &near_device, &link.to_near, options.seed),
            lane(&near_device, &far_device, &link.to_far, !options.seed),
        ];
        for lane in lanes {
            link.threads.push(lane.start().map_err(failed)?);
        }
        Ok(link)
    }

    /// Where clients are, by convention.
    pub fn near(&self) -> &End {
        &self.near
    }

    /// Where servers are, by convention.
    pub fn far(&self) -> &End {
        &self.far
    }

    /// What passed so far, and what did not.
    pub fn statistics(&self) -> Statistics {
        Statistics { to_near: self.to_near.read(), to_far: self.to_far.read() }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.raise();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}

/// A TUN device that is the way from one end to the other.
///
/// Built without debug assertions, the crate that makes it leaves its descriptor open when dropped;
/// the device itself goes with its namespace either way.
fn device(name: &str, end: &End) -> Result<Arc<Tun>, LinkError> {
    let failed = |source| LinkError::Device { what: "a TUN device", source };
    let interface = Interface::new(name).map_err(failed)?;
    let device = Tun::create_named(interface).map_err(failed)?;
    device.set_nonblocking(true).map_err(failed)?;
    device.set_mtu(MTU_BYTES).map_err(failed)?;
    ip(&["link", "set", "dev", name, "txqueuelen", DEVICE_PACKETS_MAX])?;
    // What is open here stays open wherever the device goes.
    ip(&["link", "set", "dev", name, "netns", end.namespace()])?;
    // Hosts that speak IPv6 say so by themselves; on this link there is only what a test sends.
    end.set_parameter("net.ipv6.conf.all.disable_ipv6", "1").ok();
    let address = format!("{}/30", end.address());
    ip(&["-n", end.namespace(), "address", "add", &address, "dev", name])?;
    for device in ["lo", name] {
        ip(&["-n", end.namespace(), "link", "set", "dev", device, "up"])?;
    }
    Ok(Arc::new(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_holds_what_passes_in_an_rtt_and_a_burst_at_least() {
        let queue_bytes = |rtt_ms, rate_bits_per_s, queue_bytes| {
            let rtt = Duration::from_millis(rtt_ms);
            let options = LinkOptions { rtt, rate_bits_per_s, queue_bytes, ..Default::default() };
            options.shape().queue_bytes
        };
        assert_eq!(queue_bytes(200, 200_000_000, None), 5_000_000);
        assert_eq!(queue_bytes(1, 1_000_000, None), 96_000);
        assert_eq!(queue_bytes(200, 200_000_000, Some(3_000)), 3_000);
    }
}
