//! `towline client FILENAME [HOST] [PORT]`: the classic client with the original classic system's folders.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;
use towline_client::classic::{self, Downloaded, Options};
use towline_client::connect::{Address, Host};
use towline_client::retry::Backoff;
use towline_proto::classic::Request;
use towline_proto::escape::EscapedPath;
use towline_proto::name::RemoteName;
use towline_store::staged::Durability;
use tracing::level_filters::LevelFilter;

use super::block_on;
use crate::args::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::logging::{self, LogOptions};
use crate::signals::Endings;
use crate::url::DEFAULT_PORT;
use crate::{options, output, progress, url};

/// The classic client: fetches FILENAME into `./client_downloads`, replacing what is there once the new file
/// is verified, and logs to ./logs.
#[derive(clap::Args, Debug)]
#[command(after_help = progress::EVENTS)]
pub(crate) struct Args {
    /// The file, as the server names it; may lie in a sub-folder
    #[arg(value_parser = request)]
    filename: Request,
    /// The server's name or address
    #[arg(default_value = "localhost", value_parser = host)]
    host: Host,
    /// The server's port
    #[arg(default_value_t = DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Folder that the file goes into; created if missing
    #[arg(long, value_name = "DIR", default_value = "client_downloads")]
    downloads_dir: PathBuf,
    /// Folder for this run's log; created if missing
    #[arg(long, value_name = "DIR", default_value = "logs")]
    log_dir: PathBuf,
    /// How often to try again after a failure
    #[arg(long, value_name = "N", default_value_t = Backoff::default().retries)]
    max_retries: u32,
    /// Wait before the first retry; each further one is twice as long
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = options::duration)]
    initial_backoff: Duration,
    /// Longest wait between two attempts
    #[arg(long, value_name = "TIME", default_value = "32s", value_parser = options::duration)]
    max_backoff: Duration,
    /// Longest time without a sign of the server
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = options::timeout)]
    timeout: Duration,
    /// Bytes received, hashed and written at once
    #[arg(long, value_name = "SIZE", default_value = "512K", value_parser = options::buffer_size)]
    buffer_size: usize,
    /// Do not wait for the disk: faster, but a power cut soon after can lose the file
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    output: OutputArgs,
}

fn request(text: &str) -> Result<Request, String> {
    if text.contains("://") {
        return Err("the file's name comes first, and then its server: FILENAME HOST PORT".into());
    }
    let name = RemoteName::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    Request::new(name).map_err(|error| error.to_string())
}

fn host(text: &str) -> Result<Host, String> {
    text.parse().map_err(|error| match url::address(text) {
        Ok(Address { host, port }) => format!("host and port stand apart: {host} {port}"),
        Err(_) => format!("{error}"),
    })
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let _log = logging::start(&LogOptions {
        file: Some((&args.log_dir, "client")),
        console: LevelFilter::OFF,
        verbose: args.output.verbose,
    });
    let result = block_on(fetch(args));
    match &result {
        Ok(downloaded) => report(downloaded, args),
        Err(failure) => progress::tell_failure(failure, &args.output, &[args.url()]),
    }
    result.map(drop)
}

impl Args {
    fn url(&self) -> String {
        let address = Address { host: self.host.clone(), port: self.port };
        url::classic(&address, self.filename.name())
    }

    fn options(&self) -> Options {
        Options {
            address: Address { host: self.host.clone(), port: self.port },
            request: self.filename.clone(),
            folder: self.downloads_dir.clone(),
            silence_max: self.timeout,
            backoff: Backoff {
                initial: self.initial_backoff,
                max: self.max_backoff,
                retries: self.max_retries,
            },
            chunk_bytes: self.buffer_size,
            durability: if self.no_sync { Durability::Unsynced } else { Durability::Synced },
        }
    }
}

/// Fetches the file unless a signal comes first. Leaving the transfer removes what it had received, at once:
/// a second signal would find nothing to hasten.
async fn fetch(args: &Args) -> Result<Downloaded, Failure> {
    let options = args.options();
    let mut endings = Endings::catch().context("cannot catch signals")?;
    let watchers =
        progress::watchers(&args.output, &options.request.name().to_string(), &args.url());
    tokio::select! {
        result = classic::download(&options, &watchers) => result.map_err(Failure::from),
        _ = endings.next() => {
            let advice =
                "interrupted; what had arrived is removed, since the classic protocol cannot resume";
            Err(Failure::new(Exit::Interrupted, anyhow!(advice)))
        }
    }
}

fn report(downloaded: &Downloaded, args: &Args) {
    let Downloaded { path, size, attempts, elapsed } = downloaded;
    if args.output.json {
        let seconds = elapsed.as_secs_f64();
        let done = json!({"event": "done", "size": size, "attempts": attempts, "seconds": seconds});
        let done = progress::with_path(done, path.as_os_str().as_bytes());
        progress::print_json(&args.url(), done);
    } else if !args.output.quiet {
        let unsynced = if args.no_sync { "; not synced to the disk (--no-sync)" } else { "" };
        output::event(format_args!(
            "{}: {} in {} ({}), MD5 verified{unsynced}",
            EscapedPath(path),
            output::size(*size),
            output::seconds(*elapsed),
            output::rate(*size, *elapsed),
        ));
    }
}
