//! Listening sockets, and what a process needs before it accepts many connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel completes and holds before they are accepted.
const BACKLOG: i32 = 4_096;

/// Listens on `address`, as [`bind`] does. Call it within a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(bind(address)?)
}

/// A socket that listens on `address`, ready to become a [`TcpListener`]. An IPv6 wildcard takes IPv4 connections as
/// well (dual stack).
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The same on every address of this host: dual stack, or IPv4 alone where there is no IPv6.
pub fn bind_everywhere(port: u16) -> io::Result<std::net::TcpListener> {
    match bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)) {
        Err(error) if lacks_ipv6(&error) => {
            bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
        }
        result => result,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::OPNOTSUPP)
    )
}

/// Raises the soft limit of open descriptors to the hard one; returns the limit now in force, `None` for
/// no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        // Without the right to raise it, the server serves within what it has.
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    use super::{bind_everywhere, listen};

    #[tokio::test]
    async fn the_wildcard_is_reached_over_ipv4() {
        let listener = bind_everywhere(0).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connected, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(("127.0.0.1", port)), listener.accept());
        assert_eq!(connected.unwrap().local_addr().unwrap().port(), accepted.unwrap().1.port());
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
