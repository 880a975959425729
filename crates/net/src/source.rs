//! Whom a connection counts against.

use std::net::{IpAddr, SocketAddr};

/// The unit of per-source limits: an IPv4 address, or the /64 network of an IPv6 one, since a single
/// subscriber commonly holds a whole /64 (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source of a connection from `peer`. An IPv4 address seen through a dual-stack socket counts as
    /// the IPv4 address that it is.
    pub fn of(peer: SocketAddr) -> Self {
        match peer.ip().to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self(IpAddr::V6(network.into()))
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// The peer's address as a person writes it: IPv4 as IPv4, also when a dual-stack socket accepted it.
pub fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn source(peer: &str) -> Source {
        Source::of(peer.parse().unwrap())
    }

    #[test]
    fn a_64_network_counts_as_one_source() {
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
    }

    #[test]
    fn ipv4_addresses_count_one_by_one_also_through_a_dual_stack_socket() {
        assert_eq!(source("[::ffff:192.0.2.1]:1"), source("192.0.2.1:2"));
        assert_ne!(source("192.0.2.1:1"), source("192.0.2.2:1"));
    }
}
