//! `towline get URL...`: fetches files and folders by the native protocol, resuming what is left of an earlier attempt.

mod expand;
mod local;
mod one;
mod tree;

use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Context, anyhow};
use towline_client::native::{Busy, Connections, Server};
use towline_client::throttle::SharedThrottle;
use towline_net::listen::raise_descriptor_limit;
use towline_store::staged::{Durability, Existing};
use tracing::level_filters::LevelFilter;

use self::tree::{TREES, TreeArgs};
use super::block_on;
use crate::args::{LogDirArgs, OutputArgs, PatienceArgs};
use crate::exit::{Exit, Failure};
use crate::filter::{FILTERS, FilterArgs};
use crate::logging::{self, LogOptions};
use crate::logins::LOGINS;
use crate::servers::Servers;
use crate::signals::Endings;
use crate::trust::{ServerArgs, TRUST};
use crate::url::{Mistake, Url};
use crate::{exit, options, output, progress};

/// Most connections that may be asked for.
const CONNECTIONS_MAX: i64 = 64;

/// Fetches files, verified piece by piece, and with -r whole folders. A transfer that was interrupted goes on where it
/// ended when the same command is run again.
#[derive(clap::Args, Debug)]
#[command(after_help = format!("{TREES}\n\n{FILTERS}\n\n{TRUST}\n\n{LOGINS}\n\n{}", progress::EVENTS))]
pub(crate) struct Args {
    /// What to fetch: `[towline://]HOST[:PORT]/PATH`, where the last component may be a pattern
    /// such as `*.gz`, in quotes
    #[arg(required = true, value_parser = wanted)]
    url: Vec<Url>,
    /// Name of the result [default: the file's own name, here]
    #[arg(short, long, value_name = "PATH")]
    output_path: Option<PathBuf>,
    /// Folder for the results, under their own names
    #[arg(short, long, value_name = "DIR", conflicts_with = "output_path")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Replace existing files that differ
    #[arg(short = 'f', long)]
    overwrite: bool,
    /// Wait while another transfer is writing the same file or tree, instead of failing
    #[arg(long)]
    wait: bool,
    /// Connections that bring content [default: as many as gain something, up to 8]; with -r see below
    #[arg(short = 'j', long, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: Option<u32>,
    /// Bytes per second at most, over all connections
    #[arg(long, value_name = "RATE", value_parser = options::rate)]
    limit_rate: Option<u64>,
    #[command(flatten)]
    patience: PatienceArgs,
    /// What the content must hash to, as `towline hash` prints it
    #[arg(long, value_name = "blake3:HEX", value_parser = options::blake3,
        conflicts_with = "recursive")]
    hash: Option<blake3::Hash>,
    /// Do not wait for the disk: faster, but a power cut soon after can lose what came
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogDirArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let _log = logging::start(&LogOptions {
        file: args.log.log_dir.as_deref().map(|folder| (folder, "get")),
        console: LevelFilter::OFF,
        verbose: args.output.verbose,
    });
    // Each connection may have all the folders of a deep tree open.
    raise_descriptor_limit();
    let result = block_on(fetch_all(args));
    if let Err(failure) = &result {
        progress::tell_failure(failure, &args.output, &args.url);
    }
    result
}

/// What to fetch; or why it cannot be told, where a folder for the results may have been meant.
fn wanted(text: &str) -> Result<Url, String> {
    text.parse().map_err(|mistake| match mistake {
        Mistake::NoPath(_) if !text.contains(':') => {
            format!("{mistake}; -d {text} puts the results into a folder here")
        }
        mistake => mistake.to_string(),
    })
}

/// Fails where something that is about one file is asked for of several.
fn check_several(args: &Args, count: usize) -> Result<(), Failure> {
    let problem = if count <= 1 {
        return Ok(());
    } else if args.output_path.is_some() {
        anyhow!("-o names one result, and {count} are to be fetched: -d puts them into a folder")
    } else if args.hash.is_some() {
        anyhow!("--hash is that of one file, and {count} are to be fetched: fetch it alone")
    } else {
        return Ok(());
    };
    Err(Failure::new(Exit::Usage, problem))
}

/// Fetches one after the other; what fails does not stop the rest.
async fn fetch_all(args: &Args) -> Result<(), Failure> {
    if args.output_path.as_deref() == Some(Path::new("-")) {
        let pipe = anyhow!("-o - is no pipe: only what is verified whole is shown; name a file");
        return Err(Failure::new(Exit::Usage, pipe));
    }
    args.server.check_token(args.url.iter().map(|url| &url.address))?;
    let mut endings = Endings::catch().context("cannot catch signals")?;
    let mut servers = Servers::new(&args.server, &args.patience);
    let expanding = async {
        local::refuse(&args.url, args.patience.timeout).await?;
        expand::patterns(args, &mut servers).await
    };
    let urls = tokio::select! {
        urls = expanding => urls?,
        _ = endings.next() => return Err(Failure::new(Exit::Interrupted, anyhow!("interrupted"))),
    };
    check_several(args, urls.len())?;
    let mut failed = Vec::new();
    for url in &urls {
        let fetched = match servers.at(&url.address) {
            Ok(server) => fetch(args, url, server, &mut endings).await,
            Err(failure) => Err(failure),
        };
        match fetched {
            Ok(()) => {}
            Err(failure) if urls.len() == 1 || failure.exit == Exit::Interrupted => {
                return Err(failure);
            }
            Err(failure) => {
                output::error(&failure);
                progress::tell_failure(&failure, &args.output, slice::from_ref(url));
                failed.push(failure.exit);
            }
        }
    }
    exit::of_several(&failed, urls.len())
}

async fn fetch(
    args: &Args,
    url: &Url,
    server: Server,
    endings: &mut Endings,
) -> Result<(), Failure> {
    if args.tree.recursive && !tree::fetch(args, url, server.clone(), endings).await?.is_a_file() {
        return Ok(());
    }
    one::fetch(args, url, server, endings).await
}

impl Args {
    fn busy(&self) -> Busy {
        if self.wait { Busy::Wait } else { Busy::Fail }
    }

    fn existing(&self) -> Existing {
        if self.overwrite { Existing::Replace } else { Existing::Refuse }
    }

    fn connections(&self) -> Connections {
        self.connections.map_or(Connections::Adaptive, Connections::Exactly)
    }

    fn durability(&self) -> Durability {
        if self.no_sync { Durability::Unsynced } else { Durability::Synced }
    }

    fn limit(&self) -> SharedThrottle {
        SharedThrottle::new(self.limit_rate)
    }
}
