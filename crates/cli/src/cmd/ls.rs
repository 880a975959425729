//! `towline ls URL`: what is in a folder on a server.

use std::slice;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use towline_client::monitor::Monitor;
use towline_client::native::listing::{ListOptions, Lister, look_up};
use towline_client::native::{Server, SessionError};
use towline_proto::escape::Escaped;
use towline_proto::native::message::ErrorCode;
use towline_proto::native::message::tree::{Depth, Entry, EntryKind};
use tracing::level_filters::LevelFilter;

use super::block_on;
use crate::args::{LogDirArgs, OutputArgs, PatienceArgs};
use crate::exit::{Exit, Failure};
use crate::filter::{FILTERS, FilterArgs};
use crate::logging::{self, LogOptions};
use crate::logins::LOGINS;
use crate::output::{self, JsonLine};
use crate::servers::Servers;
use crate::signals::Endings;
use crate::trust::{ServerArgs, TRUST};
use crate::url::Url;
use crate::{exit, progress};

/// Shown in the help.
const EVENTS: &str = "\
With --json, standard output has one JSON object per entry: event (`entry`), url (that was asked
for), path (below it; and path_hex where it is not UTF-8), kind (`file`, `folder`, `link`, `other`),
size in bytes (of files), modified (RFC 3339), mode (octal), target (of links), error (why it cannot
be read).";

/// Lists what is in a folder, sorted by name.
#[derive(clap::Args, Debug)]
#[command(after_help = format!("{FILTERS}\n\n{TRUST}\n\n{LOGINS}\n\n{EVENTS}"))]
pub(crate) struct Args {
    /// Folders or files: `[towline://]HOST[:PORT]/PATH`, where the last component may be a pattern
    #[arg(required = true)]
    url: Vec<Url>,
    /// List what is in its folders too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Show permissions, size in bytes, and time
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogDirArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let _log = logging::start(&LogOptions {
        file: args.log.log_dir.as_deref().map(|folder| (folder, "ls")),
        console: LevelFilter::OFF,
        verbose: args.output.verbose,
    });
    let result = block_on(async {
        let mut endings = Endings::catch().context("cannot catch signals")?;
        tokio::select! {
            result = list_all(args) => result,
            _ = endings.next() => Err(Failure::new(Exit::Interrupted, anyhow!("interrupted"))),
        }
    });
    if let Err(failure) = &result {
        progress::tell_failure(failure, &args.output, &args.url);
    }
    result
}

/// Lists one after the other; what fails does not stop the rest.
async fn list_all(args: &Args) -> Result<(), Failure> {
    args.server.check_token(args.url.iter().map(|url| &url.address))?;
    let mut servers = Servers::new(&args.server, &args.patience);
    let (mut failed, mut unreadable) = (Vec::new(), 0);
    for url in &args.url {
        if args.url.len() > 1 && !args.output.json {
            let _ = output::line(format_args!("{}:", url.name()));
        }
        let listed = match servers.at(&url.address) {
            Ok(server) => list(url, args, server).await,
            Err(failure) => Err(failure),
        };
        match listed {
            Ok(count) => unreadable += count,
            Err(failure) if args.url.len() == 1 => return Err(failure),
            Err(failure) => {
                output::error(&failure);
                progress::tell_failure(&failure, &args.output, slice::from_ref(url));
                failed.push(failure.exit);
            }
        }
    }
    exit::of_several(&failed, args.url.len())?;
    if unreadable == 0 {
        return Ok(());
    }
    let unreadable = output::count(unreadable, "entry", "entries");
    Err(Failure::new(Exit::Partial, anyhow!("{unreadable} cannot be read on the server")))
}

/// Lists one; tells how many entries cannot be read on the server.
async fn list(url: &Url, args: &Args, server: Server) -> Result<u64, Failure> {
    let name = url.name();
    let watchers = progress::messages(&args.output, &name);
    print_entries(url, args, server, &watchers).await.map_err(|problem| match problem {
        Problem::Session(error) => Failure::session(&format!("{name} was not listed"), &error),
        Problem::Other(failure) => failure,
    })
}

enum Problem {
    Session(SessionError),
    Other(Failure),
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

async fn print_entries(
    url: &Url,
    args: &Args,
    server: Server,
    monitor: &dyn Monitor,
) -> Result<u64, Problem> {
    let mut lister = Lister::new(list_options(url, args, server.clone()))?;
    let (mut listed, mut unreadable) = (0_u64, 0);
    loop {
        let entries = match lister.next(monitor).await {
            Ok(Some(entries)) => entries,
            Ok(None) => break,
            Err(SessionError::Refused(refusal)) if refusal.code == ErrorCode::NotFolder => {
                let Some(name) = &url.path else {
                    return Err(SessionError::Refused(refusal).into());
                };
                show(&look_up(&server, name).await?, url, args);
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            listed += 1;
            if let Some(error) = &entry.error {
                unreadable += 1;
                let reason = Escaped(error.text.as_bytes());
                output::message(format_args!("towline: {}: {reason}", entry.path));
            }
            if !show(&entry, url, args) {
                return Ok(unreadable);
            }
        }
    }
    if listed == 0
        && let Some(pattern) = &url.pattern
    {
        let none = anyhow!("nothing in {} matches {pattern}", url.name());
        return Err(Problem::Other(Failure::new(Exit::NotFound, none)));
    }
    Ok(unreadable)
}

fn list_options(url: &Url, args: &Args, server: Server) -> ListOptions {
    ListOptions {
        server,
        folder: url.path.clone(),
        depth: if args.recursive { Depth::Tree } else { Depth::Folder },
        rules: [url.rules(), args.filter.rules.clone()].concat(),
        backoff: args.patience.backoff(),
    }
}

/// Prints an entry; `false` where nobody reads any more.
fn show(entry: &Entry, url: &Url, args: &Args) -> bool {
    if args.output.json {
        output::line(JsonLine(json_of(entry, url))).is_ok()
    } else if args.long {
        output::line(long(entry)).is_ok()
    } else {
        output::line(format_args!("{}{}", entry.path, mark(entry))).is_ok()
    }
}

fn mark(entry: &Entry) -> &'static str {
    if entry.kind == EntryKind::Folder { "/" } else { "" }
}

/// `-rw-r--r--         4096  2026-11-23 03:08:38  name`
fn long(entry: &Entry) -> String {
    let (letter, size) = match &entry.kind {
        EntryKind::File { size, .. } => ('-', size.to_string()),
        EntryKind::Folder => ('d', "-".into()),
        EntryKind::Link { .. } => ('l', "-".into()),
        EntryKind::Other => ('?', "-".into()),
    };
    let bit = |(place, letter): (u32, char)| {
        if entry.mode & (0o400 >> place) == 0 { '-' } else { letter }
    };
    let mode: String = (0..9).zip("rwxrwxrwx".chars()).map(bit).collect();
    let time = time(entry).map_or_else(
        || "-".into(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    );
    let target = match &entry.kind {
        EntryKind::Link { target } => format!(" -> {}", Escaped(target)),
        _ => String::new(),
    };
    format!("{letter}{mode} {size:>14}  {time:19}  {}{}{target}", entry.path, mark(entry))
}

fn time(entry: &Entry) -> Option<Timestamp> {
    Timestamp::from_nanosecond(entry.modified_ns.into()).ok()
}

fn json_of(entry: &Entry, url: &Url) -> serde_json::Value {
    let object = json!({"event": "entry", "url": url.to_string()});
    let mut object = progress::with_path(object, entry.path.as_bytes());
    let mut add = |key: &str, value: serde_json::Value| object[key] = value;
    add(
        "kind",
        match &entry.kind {
            EntryKind::File { .. } => "file".into(),
            EntryKind::Folder => "folder".into(),
            EntryKind::Link { .. } => "link".into(),
            EntryKind::Other => "other".into(),
        },
    );
    if let EntryKind::File { size, .. } = entry.kind {
        add("size", size.into());
    }
    add("modified", time(entry).map(|time| time.to_string()).into());
    add("mode", format!("{:04o}", entry.mode).into());
    if let EntryKind::Link { target } = &entry.kind {
        add("target", String::from_utf8_lossy(target).into());
    }
    if let Some(error) = &entry.error {
        add("error", error.text.clone().into());
    }
    object
}
