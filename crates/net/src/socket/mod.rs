//! What is set on a connected socket: how long it may be silent, and how it meets congestion.
//!
//! The sizes of the kernel's buffers are left alone: it fits them to bandwidth times delay by itself, and stops
//! doing so for a socket whose sizes were set.

mod tcp_info;

use std::io;
use std::time::Duration;

use rustix::net::sockopt::{set_tcp_congestion, set_tcp_user_timeout, tcp_congestion};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// Longest time in which a peer acknowledges nothing of what was sent to it. A peer that is paused, with its
/// window closed, counts as well: this is twice the half minute that one must be able to pause.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_mins(1);

/// Bytes that the kernel takes from us ahead of what it may send: enough to keep it busy, few enough that memory goes
/// to what is on its way and that an answer to a new request does not queue behind seconds of an old one.
const UNSENT_BYTES_MAX: u32 = 1_024 * 1_024;

/// Silence after which the kernel asks whether the peer is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);

/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// From this round trip on a path needs [`LONG_PATH_ALGORITHM`].
const BBR_ROUND_TRIP_MIN: Duration = Duration::from_millis(5);

/// What a long path needs: throughput that does not fall with every lost packet (BBR, Cardwell et al., 2016).
pub const LONG_PATH_ALGORITHM: &str = "bbr";

/// What short paths use where the system's default is [`LONG_PATH_ALGORITHM`], in order of preference. Its pacing
/// holds loopback to a third.
const SHORT_PATH_ALGORITHMS: [&str; 2] = ["cubic", "reno"];

/// How a sender's congestion control is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// By the path: BBR on a long one, the system's default on a short one, unless that is BBR.
    #[default]
    Auto,
    /// The system's default.
    System,
    /// This algorithm, as the kernel calls it.
    Named(String),
}

/// Why the kernel does not let this process use a congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is no such algorithm, or its module is not loaded.
    #[error("the kernel does not have it (`modprobe tcp_NAME` loads what is a module)")]
    Absent,
    /// Only privileged processes may use it.
    #[error("only root may (add it to `sysctl net.ipv4.tcp_allowed_congestion_control`)")]
    NotAllowed,
}

/// Prepares a connected socket: small messages are not held back, and a peer that is gone is found out.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    let milliseconds = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(set_tcp_user_timeout(stream, milliseconds)?)
}

/// Chooses how a sender meets congestion. Call it when the peer has been heard, so that the round trip is known.
pub fn choose_congestion_control(stream: &TcpStream, congestion: &Congestion) -> io::Result<()> {
    match congestion {
        Congestion::Named(algorithm) => Ok(set_tcp_congestion(stream, algorithm)?),
        Congestion::Auto if round_trip(stream)? >= BBR_ROUND_TRIP_MIN => {
            Ok(set_tcp_congestion(stream, LONG_PATH_ALGORITHM)?)
        }
        Congestion::Auto if tcp_congestion(stream)? == LONG_PATH_ALGORITHM => {
            let set = |algorithm| set_tcp_congestion(stream, algorithm);
            Ok(SHORT_PATH_ALGORITHMS.into_iter().map(set).find(Result::is_ok).unwrap_or(Ok(()))?)
        }
        Congestion::Auto | Congestion::System => Ok(()),
    }
}

/// The kernel's smoothed estimate of the time to the peer and back.
pub fn round_trip(stream: &TcpStream) -> io::Result<Duration> {
    Ok(Duration::from_micros(tcp_info::tcp_info(stream)?.tcpi_rtt.into()))
}

/// Whether this process may use a congestion control.
pub fn check_available(algorithm: &str) -> Result<(), Unavailable> {
    use rustix::io::Errno;
    let Ok(socket) = Socket::new(Domain::IPV4, Type::STREAM, None) else {
        return Err(Unavailable::Absent);
    };
    match set_tcp_congestion(&socket, algorithm) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => Err(Unavailable::NotAllowed),
        Err(_) => Err(Unavailable::Absent),
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion, tcp_user_timeout};
    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(connecting, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn a_peer_that_pauses_for_half_a_minute_is_waited_for() {
        let (near, _far) = connection().await;
        prepare(&near).unwrap();
        assert!(near.nodelay().unwrap());
        assert!(SockRef::from(&near).keepalive().unwrap());
        assert!(tcp_user_timeout(&near).unwrap() > 30_000);
    }

    #[tokio::test]
    async fn loopback_is_a_short_path_and_leaves_bbr() {
        let (near, _far) = connection().await;
        assert!(round_trip(&near).unwrap() < BBR_ROUND_TRIP_MIN);
        if set_tcp_congestion(&near, LONG_PATH_ALGORITHM).is_err() {
            eprintln!("skipped: this kernel has no {LONG_PATH_ALGORITHM}");
            return;
        }
        choose_congestion_control(&near, &Congestion::System).unwrap();
        assert_eq!(tcp_congestion(&near).unwrap(), LONG_PATH_ALGORITHM);
        choose_congestion_control(&near, &Congestion::Auto).unwrap();
        assert_ne!(tcp_congestion(&near).unwrap(), LONG_PATH_ALGORITHM);
    }

    #[tokio::test]
    async fn a_named_algorithm_is_set_and_an_unknown_one_is_an_error() {
        let (near, _far) = connection().await;
        choose_congestion_control(&near, &Congestion::Named("reno".into())).unwrap();
        assert_eq!(tcp_congestion(&near).unwrap(), "reno");
        assert_eq!(check_available("reno"), Ok(()));
        assert_eq!(check_available("no-such-thing"), Err(Unavailable::Absent));
        let unknown = Congestion::Named("no-such-thing".into());
        assert!(choose_congestion_control(&near, &unknown).is_err());
    }
}
