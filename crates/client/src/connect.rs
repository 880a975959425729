//! From a host's name to a connection: every address is tried, none is waited for alone.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use towline_net::socket;

/// Head start of each address before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// A server as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

/// A host name or IP address that can be looked up; without the brackets that IPv6 literals may wear, and with the
/// zone that link-local ones need (`fe80::1%eth0`, RFC 4007, section 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(String);

/// Why some text is not a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host name or IP address")]
pub struct HostError(String);

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be looked up.
    #[error("cannot look up the server {host}: {source}")]
    LookUp {
        /// The host.
        host: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The name has no address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The addresses were tried and none answered; with the last one's reason.
    #[error("cannot connect to {peer}: {source}")]
    Unreachable {
        /// The address that failed last.
        peer: SocketAddr,
        /// Its reason.
        source: io::Error,
    },
    /// Time was up.
    #[error("cannot connect to {address}: no answer within {after:?}")]
    TimedOut {
        /// The server.
        address: Address,
        /// How long it was given.
        after: Duration,
    },
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bare.unwrap_or(text);
        let is_address = host.parse::<IpAddr>().is_ok() || split_zone(host).is_some();
        let is_name = bare.is_none()
            && !host.is_empty()
            && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if is_address || is_name {
            Ok(Self(host.to_owned()))
        } else {
            Err(HostError(text.to_owned()))
        }
    }
}

impl Host {
    /// The name or address, without brackets.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An IPv6 address and the zone behind it: the network interface, by its name or number.
pub(crate) fn split_zone(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (address, zone) = host.split_once('%')?;
    let is_zone = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let address = address.parse().ok()?;
    Some((address, zone)).filter(|_| !zone.is_empty() && zone.bytes().all(is_zone))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host: Host(host), port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Connects to the first of the server's addresses that answers, within `deadline`.
pub async fn connect(address: &Address, deadline: Duration) -> Result<TcpStream, ConnectError> {
    let connecting = async {
        let Address { host: Host(host), port } = address;
        let found = lookup_host((host.as_str(), *port))
            .await
            .map_err(|source| ConnectError::LookUp { host: host.clone(), source })?;
        race(alternate_families(found)).await?.ok_or_else(|| ConnectError::NoAddress(host.clone()))
    };
    let stream = timeout(deadline, connecting)
        .await
        .map_err(|_| ConnectError::TimedOut { address: address.clone(), after: deadline })??;
    // A kernel that lacks one of the settings does without it; the deadlines hold all the same.
    let _ = socket::prepare(&stream);
    Ok(stream)
}

/// Orders addresses so that the families take turns, beginning with the one that the system prefers: a dead
/// IPv6 beside a good IPv4 costs one head start.
fn alternate_families(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut found = found.peekable();
    let prefers_v6 = found.peek().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found.partition(|a| a.is_ipv6() == prefers_v6);
    let turns = first.len().max(second.len());
    (0..turns).flat_map(|turn| [first.get(turn), second.get(turn)]).flatten().copied().collect()
}

/// Tries the addresses in order, each beside those before it; `None` if there are none.
async fn race(addresses: Vec<SocketAddr>) -> Result<Option<TcpStream>, ConnectError> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last_error = None;
    loop {
        if let Some(peer) = waiting.next() {
            attempts.spawn(async move { (peer, TcpStream::connect(peer).await) });
        }
        let more_wait = waiting.len() > 0;
        tokio::select! {
            finished = attempts.join_next() => match finished {
                Some(Ok((_, Ok(stream)))) => return Ok(Some(stream)),
                Some(Ok((peer, Err(source)))) => {
                    last_error = Some(ConnectError::Unreachable { peer, source });
                }
                // Attempts do not panic, and nobody cancels them.
                Some(Err(_)) => {}
                None => return last_error.map_or(Ok(None), Err),
            },
            () = sleep(HEAD_START), if more_wait => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::{Address, ConnectError, Host, alternate_families, connect, race};

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.parse().unwrap(), port }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_brackets() {
        assert_eq!(address("[::1]", 9).to_string(), "[::1]:9");
        assert_eq!(address("::1", 9).to_string(), "[::1]:9");
        assert_eq!(address("files.example", 9).to_string(), "files.example:9");
        assert_eq!(address("[fe80::1%eth0.1]", 9).to_string(), "[fe80::1%eth0.1]:9");
        for bad in [
            "",
            ".",
            "[name]",
            "a b",
            "a/b",
            "host:80",
            "[::1",
            "a\n",
            "name%eth0",
            "fe80::1%",
            "fe80::1%a b",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn families_take_turns() {
        let found = ["[::1]:1", "[::2]:1", "127.0.0.1:1"].map(|a| a.parse::<SocketAddr>().unwrap());
        let order = alternate_families(found.into_iter());
        assert_eq!(order, [found[0], found[2], found[1]]);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_good_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        // Port 0 cannot be connected to; it fails at once.
        let dead = "[::1]:0".parse().unwrap();
        let stream = race(vec![dead, good]).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(matches!(race(vec![dead]).await, Err(ConnectError::Unreachable { .. })));
        assert!(race(vec![]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_address_is_reached_through_the_interface_of_its_zone() {
        let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect(&address("::1%1", port), Duration::from_secs(10)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), port);
        let nowhere = connect(&address("fe80::1%no-such-one", port), Duration::from_secs(10)).await;
        assert!(matches!(nowhere, Err(ConnectError::LookUp { .. })), "{nowhere:?}");
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error =
            connect(&address("127.0.0.1", port), Duration::from_secs(10)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
