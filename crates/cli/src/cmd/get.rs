//! `towline get URL`: fetches a file by the native protocol, resuming what is left of an earlier attempt.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use towline_client::native::{self, Busy, Connections, Downloaded, Options, Tally};
use towline_client::retry::Backoff;
use towline_proto::name::RemoteName;
use towline_store::staged::{Durability, Existing};
use tracing::level_filters::LevelFilter;

use super::block_on;
use crate::args::{LogDirArgs, OutputArgs};
use crate::exit::Failure;
use crate::logging::{self, LogOptions};
use crate::signals::Endings;
use crate::trust::{TRUST, TrustArgs};
use crate::url::Url;
use crate::{options, output, progress};

/// Most connections that may be asked for.
const CONNECTIONS_MAX: i64 = 64;

/// Fetches a file, verified piece by piece. A transfer that was interrupted goes on where it ended when the
/// same command is run again.
#[derive(clap::Args, Debug)]
#[command(after_help = format!("{TRUST}\n\n{}", progress::EVENTS))]
pub(crate) struct Args {
    /// The file: `[towline://]HOST[:PORT]/PATH`
    url: Url,
    /// Name of the result [default: the file's own name, here]
    #[arg(short, long, value_name = "PATH")]
    output_path: Option<PathBuf>,
    /// Folder for the result, under the file's own name
    #[arg(short, long, value_name = "DIR", conflicts_with = "output_path")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Replace an existing file that differs
    #[arg(short = 'f', long)]
    overwrite: bool,
    /// Wait while another transfer is writing the same target, instead of failing
    #[arg(long)]
    wait: bool,
    /// Connections to use [default: as many as gain something, up to 8]
    #[arg(short = 'j', long, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: Option<u32>,
    /// Bytes per second at most, over all connections
    #[arg(long, value_name = "RATE", value_parser = options::rate)]
    limit_rate: Option<u64>,
    /// How often to try again without any progress
    #[arg(long, value_name = "N", default_value_t = Backoff::default().retries)]
    retries: u32,
    /// Longest time without a sign of the server
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = options::timeout)]
    timeout: Duration,
    /// What the content must hash to, as `towline hash` prints it
    #[arg(long, value_name = "blake3:HEX", value_parser = options::blake3)]
    hash: Option<blake3::Hash>,
    /// Do not wait for the disk: faster, but a power cut soon after can lose the file
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
    let result = args.options().and_then(|options| block_on(fetch(&args.output, options)));
    match &result {
        Ok(downloaded) => report(downloaded, args),
        Err(failure) => progress::tell_failure(failure, &args.output),
    }
    result.map(drop)
}

impl Args {
    fn options(&self) -> Result<Options, Failure> {
        let (folder, target) = self.target()?;
        Ok(Options {
            address: self.url.address.clone(),
            encryption: self.trust.establish(&self.url.address)?,
            name: self.url.name.clone(),
            folder,
            target,
            busy: if self.wait { Busy::Wait } else { Busy::Fail },
            existing: if self.overwrite { Existing::Replace } else { Existing::Refuse },
            connections: self.connections.map_or(Connections::Adaptive, Connections::Exactly),
            silence_max: self.timeout,
            backoff: Backoff { retries: self.retries, ..Backoff::default() },
            durability: if self.no_sync { Durability::Unsynced } else { Durability::Synced },
            rate_bytes_per_s: self.limit_rate,
            expected: self.hash,
        })
    }

    /// The folder that the result goes into, and its name there.
    fn target(&self) -> Result<(PathBuf, RemoteName), Failure> {
        let (folder, name) = match (&self.output_path, &self.dir) {
            (Some(path), _) => {
                let name = path
                    .file_name()
                    .with_context(|| format!("{} is no file name", path.display()))?;
                (path.parent().unwrap_or(Path::new("")).to_owned(), name.as_bytes())
            }
            (None, Some(dir)) => (dir.clone(), self.url.name.file_name()),
            (None, None) => (PathBuf::new(), self.url.name.file_name()),
        };
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let name = RemoteName::parse(name).context("the result cannot have that name")?;
        Ok((folder, name))
    }
}

/// Fetches the file unless a signal comes first; what has arrived is kept.
async fn fetch(output: &OutputArgs, options: Options) -> Result<Downloaded, Failure> {
    let mut endings = Endings::catch().context("cannot catch signals")?;
    let how_far = progress::HowFar::default();
    let mut watchers = progress::watchers(output, &options.name.to_string());
    watchers.push(Box::new(how_far.clone()));
    tokio::select! {
        result = native::download(&options, &watchers) => {
            result.map_err(|error| if error.keeps_what_came() {
                how_far.add_to(error.into())
            } else {
                error.into()
            })
        }
        _ = endings.next() => Err(how_far.interrupted()),
    }
}

fn report(downloaded: &Downloaded, args: &Args) {
    let Downloaded { path, size, root, tally, elapsed } = downloaded;
    if args.output.json {
        output::event(json!({
            "event": "done",
            "path": path.to_string_lossy(),
            "size": size,
            "blake3": root.to_string(),
            "seconds": elapsed.as_secs_f64(),
            "received_bytes": tally.received_bytes,
            "kept_bytes": tally.kept_bytes,
            "repaired_bytes": tally.repaired_bytes,
            "lost_connections": tally.lost_connections,
            "up_to_date": tally.was_up_to_date,
        }));
    } else if !args.output.quiet {
        output::event(summary(downloaded, args));
    }
}

fn summary(downloaded: &Downloaded, args: &Args) -> String {
    let Downloaded { path, size, root: _, tally, elapsed } = downloaded;
    if tally.was_up_to_date {
        return format!("{}: up to date ({})", path.display(), output::size(*size));
    }
    let Tally { received_bytes, kept_bytes, repaired_bytes, lost_connections, .. } = *tally;
    let mut parts = vec![format!(
        "{}: {} in {} ({}), BLAKE3 verified",
        path.display(),
        output::size(*size),
        output::seconds(*elapsed),
        output::rate(received_bytes, *elapsed),
    )];
    if kept_bytes > 0 {
        parts.push(format!("{} resumed", output::size(kept_bytes)));
    }
    if repaired_bytes > 0 {
        parts.push(format!("{} repaired", output::size(repaired_bytes)));
    }
    if lost_connections > 0 {
        parts.push(format!("connections lost: {lost_connections}"));
    }
    if args.no_sync {
        parts.push("not synced to the disk (--no-sync)".into());
    }
    parts.join("; ")
}
