//! A port that is a test's own while nobody listens on it: before a server starts, between two, or for good.
//!
//! A port that was only free a moment ago may be given to anybody who asks for any: to another test's server, or to a
//! client as its own end of a connection, even of the one to this very port.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of loopback that the kernel gives to nobody. Connections to it are refused until somebody listens who asks
/// for it by its number, as servers do that set `SO_REUSEADDR`. It is free again when dropped.
#[derive(Debug)]
pub struct ReservedPort {
    socket: TcpSocket,
}

impl ReservedPort {
    /// Any port that is free.
    ///
    /// # Panics
    /// Where there is none.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        socket.set_reuseaddr(true).expect("a socket has this option");
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        socket.bind(any).expect("loopback has a free port");
        Self { socket }
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn nobody_is_there_until_somebody_asks_for_it_by_its_number() {
        let port = ReservedPort::new();
        for _ in 0..2 {
            let refused = TcpStream::connect(port.addr()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let server = TcpListener::bind(port.addr()).unwrap();
            TcpStream::connect(port.addr()).unwrap();
            drop(server);
        }
    }

    #[test]
    fn each_is_another_one() {
        let ports: Vec<_> = (0..1_000).map(|_| ReservedPort::new()).collect();
        let addresses: HashSet<_> = ports.iter().map(ReservedPort::addr).collect();
        assert_eq!(addresses.len(), ports.len());
    }
}
