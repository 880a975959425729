//! The listening sockets: those that a service manager hands over, or those that the configuration names. They are
//! made before rights are given up.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, anyhow, ensure};
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use towline_net::listen::{bind, bind_everywhere};

use crate::config::{File, MetricsPlace};
use crate::exit::Failure;

/// Sockets that listen already.
#[derive(Debug)]
pub(super) struct Sockets {
    /// For clients.
    pub(super) clients: Vec<TcpListener>,
    /// For whoever watches.
    pub(super) metrics: Option<TcpListener>,
}

impl Sockets {
    pub(super) fn open(config: &File) -> Result<Self, Failure> {
        let activated = activated()?;
        let clients = if activated.is_empty() { bind_all(&config.listen)? } else { activated };
        let metrics = config.metrics.map(bind_metrics).transpose()?;
        Ok(Self { clients, metrics })
    }
}

/// Sockets that a service manager has opened for this process (`sd_listen_fds(3)`). Takes the variables out of the
/// environment, so it is called before there are threads.
fn activated() -> anyhow::Result<Vec<TcpListener>> {
    let mut handed_over = ListenFd::from_env();
    (0..handed_over.len()).map(|number| take(&mut handed_over, number)).collect()
}

fn take(handed_over: &mut ListenFd, number: usize) -> anyhow::Result<TcpListener> {
    let unusable = || format!("cannot use socket {number} of those that were handed over");
    let socket = handed_over.take_tcp_listener(number).with_context(unusable)?;
    let socket = socket.with_context(unusable)?;
    let is_listening = socket_acceptconn(&socket).with_context(unusable)?;
    ensure!(is_listening, "{}: it does not listen", unusable());
    socket.set_nonblocking(true).with_context(unusable)?;
    Ok(socket)
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let bind_one = |address: &SocketAddr| {
        let (bound, place) = if address.is_ipv6() && address.ip().is_unspecified() {
            (bind_everywhere(address.port()), format!("port {}", address.port()))
        } else {
            (bind(*address), address.to_string())
        };
        bound.map_err(|error| unlistenable(&error, &place, "--port"))
    };
    addresses.iter().map(bind_one).collect()
}

fn bind_metrics(MetricsPlace(address): MetricsPlace) -> Result<TcpListener, Failure> {
    let place = format!("{address} for metrics");
    bind(address).map_err(|error| unlistenable(&error, &place, "--metrics"))
}

fn unlistenable(error: &Error, place: &str, flag: &str) -> Failure {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => format!("; another program has that port: choose one with {flag}"),
        ErrorKind::PermissionDenied => "; ports below 1024 need special rights".into(),
        _ => String::new(),
    };
    anyhow!("cannot listen on {place}: {error}{advice}").into()
}
