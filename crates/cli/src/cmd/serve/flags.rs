//! Flags and variables of servers. Each goes over what the configuration says, where it is given.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use towline_net::socket::Congestion;

use crate::config::{Congested, File, MetricsPlace, Size, Time};
use crate::options;
use crate::url::DEFAULT_PORT;

/// Where a server listens, and what it says.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ListenArgs {
    /// Address to listen on; repeat for several [default: all, IPv6 and IPv4]
    #[arg(short, long, value_name = "ADDRESS", env = "TOWLINE_BIND", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Say nothing but warnings and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Log details; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How a server serves, whichever command started it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Folder for the server's own key and remembered checksums [default: towline in `$XDG_STATE_HOME`]
    #[arg(long, value_name = "DIR", env = "TOWLINE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Connections served at once [default: 10000]
    #[arg(long, value_name = "N", env = "TOWLINE_MAX_CONNECTIONS")]
    max_connections: Option<NonZeroUsize>,
    /// Connections served at once from one address; an IPv6 /64 counts as one [default: 256]
    #[arg(long, value_name = "N", env = "TOWLINE_MAX_PER_SOURCE")]
    max_per_source: Option<NonZeroUsize>,
    /// Follow relative symbolic links that stay inside the folder
    #[arg(long, env = "TOWLINE_FOLLOW_SYMLINKS", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    follow_symlinks: Option<bool>,
    /// Bytes handed to the kernel at once [default: 1M]
    #[arg(long, value_name = "SIZE", env = "TOWLINE_BUFFER_SIZE", value_parser = options::buffer_size)]
    buffer_size: Option<usize>,
    /// Congestion control: `auto` (BBR on long paths), `system`, or an algorithm of the kernel's [default: auto]
    #[arg(long, value_name = "NAME", env = "TOWLINE_CONGESTION", value_parser = options::congestion)]
    congestion: Option<Congestion>,
    /// Tell metrics and health by HTTP at this port of loopback, or at an address with a port [default: 9998]
    #[arg(long, value_name = "ADDRESS", env = "TOWLINE_METRICS", num_args = 0..=1,
        require_equals = true, default_missing_value = "9998")]
    metrics: Option<MetricsPlace>,
    /// Become this user once the sockets are open; takes root. Its state, and with it the key that clients know it by, is
    /// in /var/lib/towline then, unless --state-dir says otherwise
    #[arg(long, value_name = "NAME", env = "TOWLINE_USER")]
    user: Option<String>,
    /// Keep the process to its shares, state and logs where the kernel can [default: true]
    #[arg(long, env = "TOWLINE_CONFINE", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    confine: Option<bool>,
    /// Certificate by an authority, with those of its issuers (PEM) [default: an own one, known by its pin]
    #[arg(long, value_name = "FILE", env = "TOWLINE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM); not readable by everyone
    #[arg(long, value_name = "FILE", env = "TOWLINE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Turn away clients that do not encrypt, those of the classic protocol among them
    #[arg(long, env = "TOWLINE_REQUIRE_TLS", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    require_tls: Option<bool>,
}

impl ServeArgs {
    /// Lets what is given go over the configuration.
    pub(crate) fn overlay(&self, config: &mut File) {
        let args = self.clone();
        put(&mut config.limits.connections, args.max_connections);
        put(&mut config.limits.connections_per_source, args.max_per_source);
        put(&mut config.follow_symlinks, args.follow_symlinks);
        put(&mut config.require_tls, args.require_tls);
        put(&mut config.buffer_size, args.buffer_size.map(Size));
        put(&mut config.congestion, args.congestion.map(Congested));
        put(&mut config.confine, args.confine);
        config.run_as = args.user.or(config.run_as.take());
        config.metrics = args.metrics.or(config.metrics);
        config.state_dir = args.state_dir.or(config.state_dir.take());
        if args.tls_cert.is_some() {
            (config.tls.cert, config.tls.key) = (args.tls_cert, args.tls_key);
        }
    }
}

impl ListenArgs {
    /// The same, for addresses and the port.
    pub(crate) fn overlay(&self, port: Option<u16>, config: &mut File) {
        if let Some(port) = port {
            config.listen.iter_mut().for_each(|address| address.set_port(port));
        }
        if !self.bind.is_empty() {
            let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT));
            let port = config.listen.first().unwrap_or(&everywhere).port();
            let addresses = self.bind.iter().map(|address| SocketAddr::new(*address, port));
            config.listen = addresses.collect();
        }
    }
}

/// How long a server goes on after it was asked to end.
pub(crate) fn overlay_grace(grace: Option<Duration>, config: &mut File) {
    put(&mut config.grace, grace.map(Time));
}

fn put<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}
