//! `towline serve DIR`: the server with every option.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use etcetera::BaseStrategy;
use tokio::net::TcpListener;
use towline_net::listen::{listen, listen_everywhere};
use towline_net::socket::Congestion;
use towline_server::config::{Config, Limits};
use towline_server::lifecycle::Shutdown;
use towline_store::beneath::Links;
use tracing::level_filters::LevelFilter;

use super::block_on;
use crate::args::LogDirArgs;
use crate::exit::{Exit, Failure};
use crate::identity::{IdentitySource, TlsArgs};
use crate::logging::{self, LogOptions};
use crate::options;
use crate::signals::{Ending, Endings, Reloads};

/// The document's port.
pub(crate) const DEFAULT_PORT: u16 = 9_999;

/// Serves a folder to everyone who can connect.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Folder to serve
    dir: PathBuf,
    /// TCP port to listen on; 0 takes a free one
    #[arg(short, long, env = "TOWLINE_PORT", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// How long transfers may go on after Ctrl-C or SIGTERM
    #[arg(long, value_name = "TIME", env = "TOWLINE_GRACE", default_value = "30s",
        value_parser = options::duration)]
    grace: Duration,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    log: LogDirArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Where a server listens, and what it says.
#[derive(clap::Args, Debug)]
pub(crate) struct ListenArgs {
    /// Address to listen on; repeat for several [default: all, IPv6 and IPv4]
    #[arg(short, long, value_name = "ADDRESS", env = "TOWLINE_BIND", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Say nothing but warnings and errors
    #[arg(short, long)]
    quiet: bool,
    /// Log details; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// How a server serves, whichever command started it.
#[derive(clap::Args, Debug)]
pub(crate) struct ServeArgs {
    /// Folder for the server's own key and remembered checksums [default: towline in `$XDG_STATE_HOME`]
    #[arg(long, value_name = "DIR", env = "TOWLINE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Connections served at once
    #[arg(long, value_name = "N", env = "TOWLINE_MAX_CONNECTIONS", default_value = "10000",
        value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Connections served at once from one address (an IPv6 /64 counts as one)
    #[arg(long, value_name = "N", env = "TOWLINE_MAX_PER_SOURCE", default_value = "256",
        value_parser = clap::value_parser!(u32).range(1..))]
    max_per_source: u32,
    /// Follow relative symbolic links that stay inside the folder
    #[arg(long, env = "TOWLINE_FOLLOW_SYMLINKS")]
    follow_symlinks: bool,
    /// Bytes handed to the kernel at once
    #[arg(long, value_name = "SIZE", env = "TOWLINE_BUFFER_SIZE", default_value = "1M",
        value_parser = options::buffer_size)]
    buffer_size: usize,
    /// Congestion control: `auto` (BBR on long paths), `system`, or an algorithm of the kernel's
    #[arg(long, value_name = "NAME", env = "TOWLINE_CONGESTION", default_value = "auto",
        value_parser = options::congestion)]
    congestion: Congestion,
    #[command(flatten)]
    tls: TlsArgs,
}

impl ServeArgs {
    fn state_dir(&self) -> Option<PathBuf> {
        self.state_dir.clone().or_else(default_state_dir)
    }

    /// The server that these flags describe.
    fn config(self, root: &Path, grace: Duration, identity: &IdentitySource) -> Config {
        let defaults = Config::new(root, identity.acceptor());
        Config {
            links: if self.follow_symlinks { Links::FollowInside } else { Links::Refuse },
            state_dir: self.state_dir(),
            limits: Limits {
                connections: self.max_connections as usize,
                connections_per_source: self.max_per_source as usize,
            },
            grace,
            chunk_bytes: self.buffer_size,
            congestion: self.congestion,
            require_tls: self.tls.require_tls,
            ..defaults
        }
    }
}

/// Where commands keep what they must remember; `None` for who has no home.
pub(crate) fn default_state_dir() -> Option<PathBuf> {
    let home = etcetera::choose_base_strategy().ok()?;
    Some(home.state_dir().unwrap_or_else(|| home.data_dir()).join("towline"))
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let Args { dir, port, grace, listen, log, serve } = args;
    self::serve(&Place { root: &dir, port, log_dir: log.log_dir.as_deref() }, &listen, serve, grace)
}

/// What is served, and where.
pub(crate) struct Place<'a> {
    pub(crate) root: &'a Path,
    pub(crate) port: u16,
    pub(crate) log_dir: Option<&'a Path>,
}

/// Serves until a signal ends it: the first one drains, the second cuts.
pub(crate) fn serve(
    place: &Place<'_>,
    listen: &ListenArgs,
    args: ServeArgs,
    grace: Duration,
) -> Result<(), Failure> {
    let _log = logging::start(&LogOptions {
        file: place.log_dir.map(|folder| (folder, "server")),
        console: if listen.quiet { LevelFilter::WARN } else { LevelFilter::INFO },
        verbose: listen.verbose,
    });
    let root = place.root.canonicalize();
    let root = root.with_context(|| format!("cannot serve {}", place.root.display()));
    let root = root.map_err(|error| Failure::new(Exit::NotFound, error))?;
    let identity = IdentitySource::load(&args.tls, args.state_dir().as_deref())?;
    let config = args.config(place.root, grace, &identity);
    block_on(async {
        let mut endings = Endings::catch().context("cannot catch signals")?;
        let mut reloads = Reloads::catch().context("cannot catch signals")?;
        let listeners = open_listeners(&listen.bind, place.port)?;
        tracing::info!("serving {root:?}");
        for listener in &listeners {
            let address = listener.local_addr().context("cannot tell the listening address")?;
            tracing::info!("listening on {address}");
            identity.advertise(address);
        }
        let shutdown = Shutdown::default();
        let mut running = std::pin::pin!(towline_server::run(listeners, config, shutdown.clone()));
        let mut ending = None;
        loop {
            tokio::select! {
                ended = &mut running => {
                    ended.map_err(|error| Failure::new(Exit::Other, error))?;
                    break;
                }
                () = reloads.next() => identity.reload(),
                signal = endings.next() => {
                    if ending.is_none() { shutdown.drain() } else { shutdown.cut() }
                    ending.get_or_insert(signal);
                }
            }
        }
        match ending {
            Some(Ending::Interrupt) => {
                Err(Failure::new(Exit::Interrupted, anyhow!("stopped by Ctrl-C")))
            }
            Some(Ending::Terminate) | None => Ok(()),
        }
    })
}

fn open_listeners(bind: &[IpAddr], port: u16) -> Result<Vec<TcpListener>, Failure> {
    let explain = |error: std::io::Error, place: String| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; another program has that port: choose one with --port"
            }
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need special rights",
            _ => "",
        };
        Failure::from(anyhow!("cannot listen on {place}: {error}{advice}"))
    };
    if bind.is_empty() {
        let listener = listen_everywhere(port).map_err(|e| explain(e, format!("port {port}")))?;
        return Ok(vec![listener]);
    }
    let listen_on = |&address: &IpAddr| {
        let address = SocketAddr::new(address, port);
        listen(address).map_err(|error| explain(error, address.to_string()))
    };
    bind.iter().map(listen_on).collect()
}
