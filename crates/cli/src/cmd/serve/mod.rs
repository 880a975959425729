//! `towline serve`: the server with every option.

mod confinement;
mod flags;
mod footprint;
mod live;
mod manager;
mod sockets;
mod user;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use towline_proto::escape::EscapedPath;
use towline_server::{Handle, Shutdown};
use tracing::level_filters::LevelFilter;

use self::confinement::{Confined, confine};
pub(crate) use self::flags::{ListenArgs, ServeArgs, overlay_grace};
use self::footprint::Footprint;
use self::live::Live;
use self::manager::Manager;
use self::sockets::Sockets;
use self::user::{User, is_root};
use super::block_on;
use crate::args::LogDirArgs;
use crate::config::{self, File};
use crate::exit::{Exit, Failure};
use crate::logging::{self, LogOptions};
use crate::options;
use crate::signals::{Ending, Endings, Reloads};

/// Serves a folder to everyone who can connect, or what the configuration says to whom it says.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Folder to serve; none where the configuration has shares
    dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// TCP port to listen on; 0 takes a free one [default: 9999]
    #[arg(short, long, env = "TOWLINE_PORT")]
    port: Option<u16>,
    /// How long transfers may go on after Ctrl-C or SIGTERM [default: 30s]
    #[arg(long, value_name = "TIME", env = "TOWLINE_GRACE", value_parser = options::duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    log: LogDirArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Which configuration is read.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    /// Configuration file [default: towline/towline.toml in `$XDG_CONFIG_HOME` or /etc, if there]
    #[arg(short, long, value_name = "FILE", env = "TOWLINE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

impl Args {
    /// What the file says, with flags and variables over it.
    pub(crate) fn effective(&self, file: Option<&Path>) -> anyhow::Result<File> {
        let mut file = config::load(file)?;
        self.listen.overlay(self.port, &mut file);
        overlay_grace(self.grace, &mut file);
        self.serve.overlay(&mut file);
        file.log_dir = self.log.log_dir.clone().or(file.log_dir);
        Ok(file)
    }

    /// The file that is read, if there is one.
    pub(crate) fn file(&self) -> anyhow::Result<Option<PathBuf>> {
        config::find(self.config.config.as_deref())
    }

    /// The folder that is served under no name.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let listen = args.listen.clone();
    // Looked for once: one that is gone at a reload is an error, and not a server without rules.
    let (args, file) = (args.clone(), args.file()?);
    let dir = args.dir.clone();
    serve(dir.as_deref(), &listen, move || args.effective(file.as_deref()))
}

/// Serves what `configure` says, which is asked again when the server is to read its files again, until a signal ends
/// it: the first one drains, the second cuts.
///
/// The order matters: sockets are opened with all rights, then those are given up, and only then does the process get
/// threads, which have no more.
pub(crate) fn serve(
    dir: Option<&Path>,
    listen: &ListenArgs,
    configure: impl Fn() -> anyhow::Result<File> + Send + 'static,
) -> Result<(), Failure> {
    let config = configure()?;
    check_served(dir, &config)?;
    let user = config.run_as.as_deref().map(User::find).transpose()?;
    let manager = Manager::of_environment();
    let sockets = Sockets::open(&config)?;
    let footprint = Footprint::of(&config, dir).context("cannot tell the working folder")?;
    footprint.make(user.as_ref())?;
    if let Some(user) = &user {
        user.become_for_good()?;
        footprint.check_rights(user)?;
    }
    let confined = if config.confine { confine(&footprint)? } else { Confined::Unwanted };
    let _log = logging::start(&LogOptions {
        file: config.log_dir.as_deref().map(|folder| (folder, "server")),
        console: if listen.quiet { LevelFilter::WARN } else { LevelFilter::INFO },
        verbose: listen.verbose,
    });
    block_on(async {
        let shutdown = Shutdown::default();
        let live = Live::start(dir, &config, configure, shutdown.clone())?;
        tracing::info!("{confined}");
        if is_root() {
            tracing::warn!("serving as root: name a user of few rights with --user");
        }
        run_to_the_end(live, sockets, &manager, shutdown).await
    })
}

/// Makes the folders that a server of `config` writes in, as its start would, where root is to make something in them
/// before that.
pub(crate) fn make_own_folders(config: &File) -> anyhow::Result<()> {
    match config.run_as.as_deref().filter(|_| is_root()) {
        Some(name) => Footprint::of(config, None)?.make(Some(&User::find(name)?)),
        None => Ok(()),
    }
}

/// Fails unless something is to be served.
fn check_served(dir: Option<&Path>, config: &File) -> Result<(), Failure> {
    if dir.is_none() && config.share.is_empty() {
        let nothing = anyhow!(
            "nothing is served: name a folder, or configure a [[share]] (see `towline config example`)"
        );
        return Err(Failure::new(Exit::Usage, nothing));
    }
    if let Some(dir) = dir {
        let found =
            dir.canonicalize().with_context(|| format!("cannot serve {}", EscapedPath(dir)));
        found.map_err(|error| Failure::new(Exit::NotFound, error))?;
    }
    Ok(())
}

async fn run_to_the_end<C: Fn() -> anyhow::Result<File> + Send + 'static>(
    live: Live<C>,
    sockets: Sockets,
    manager: &Manager,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let mut endings = Endings::catch().context("cannot catch signals")?;
    let reloads = Reloads::catch().context("cannot catch signals")?;
    let listeners = adopt(sockets.clients)?;
    for listener in &listeners {
        let address = listener.local_addr().context("cannot tell the listening address")?;
        tracing::info!("listening on {address}");
        live.identity().advertise(address);
    }
    let metrics = adopt(sockets.metrics)?.pop();
    if let Some(listener) = &metrics {
        let address = listener.local_addr().context("cannot tell the metrics' address")?;
        tracing::info!("metrics at http://{address}/metrics");
    }
    let (handle, status) = (live.handle(), live.status());
    let follower = live.follow().context("cannot start a thread for reloads")?;
    let mut running = pin!(run_watched(&handle, listeners, metrics));
    let mut watching = pin!(manager.watch(&handle));
    let mut following = pin!(follower.run(reloads, manager));
    manager.ready(&status);
    let mut ending = None;
    loop {
        tokio::select! {
            () = &mut running => break,
            never = &mut watching => match never {},
            // Revoked tokens must not be good for ever.
            ended = &mut following => match ended? {},
            signal = endings.next() => {
                manager.stopping();
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
}

/// Serves to the end, and tells how that goes where somebody may ask.
async fn run_watched(handle: &Handle, listeners: Vec<TcpListener>, metrics: Option<TcpListener>) {
    let watched = async {
        match metrics {
            Some(listener) => handle.expose(listener).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = handle.serve(listeners) => {}
        () = watched => {}
    }
}

/// Hands sockets to the runtime.
fn adopt(
    sockets: impl IntoIterator<Item = std::net::TcpListener>,
) -> anyhow::Result<Vec<TcpListener>> {
    let adopted = sockets.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>();
    adopted.context("cannot use a listening socket")
}
