//! Fetching one file.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::json;
use towline_client::native::{self, Downloaded, Keep, Options, Server, Tally};
use towline_proto::escape::EscapedPath;
use towline_proto::name::RemoteName;

use super::Args;
use crate::exit::{Exit, Failure};
use crate::signals::Endings;
use crate::url::Url;
use crate::{output, progress};

/// Fetches the file unless a signal comes first; what has arrived is kept.
pub(super) async fn fetch(
    args: &Args,
    url: &Url,
    server: Server,
    endings: &mut Endings,
) -> Result<(), Failure> {
    let options = options(args, url, server)?;
    let how_far = progress::HowFar::default();
    let mut watchers =
        progress::watchers(&args.output, &options.name.to_string(), &url.to_string());
    watchers.push(Box::new(how_far.clone()));
    let result = tokio::select! {
        result = native::download(&options, &watchers) => {
            result.map_err(|error| if error.keeps_what_came() {
                how_far.add_to(error.into())
            } else {
                error.into()
            })
        }
        _ = endings.next() => Err(how_far.interrupted()),
    };
    // The bar goes before the report comes.
    drop(watchers);
    report(&result?, args, url);
    Ok(())
}

fn options(args: &Args, url: &Url, server: Server) -> Result<Options, Failure> {
    let name = match &url.path {
        Some(name) if !url.has_slash => name.clone(),
        _ => {
            let name = url.name();
            let folder = if args.tree.recursive {
                anyhow!("{name} is a file: leave out the slash at the end")
            } else {
                anyhow!("{name}/ names a folder; -r fetches folders")
            };
            return Err(Failure::new(Exit::Usage, folder));
        }
    };
    let (folder, target) = target(args, &name)?;
    Ok(Options {
        server,
        name,
        folder: folder.into(),
        target,
        busy: args.busy(),
        existing: args.existing(),
        connections: args.connections(),
        backoff: args.patience.backoff(),
        durability: args.durability(),
        limit: args.limit(),
        expected: args.hash,
        keep: Keep::Nothing,
    })
}

/// The folder that the result goes into, and its name there.
fn target(args: &Args, remote: &RemoteName) -> Result<(PathBuf, RemoteName), Failure> {
    let (folder, name) = match (&args.output_path, &args.dir) {
        (Some(path), _) => {
            if path.as_os_str().as_bytes().ends_with(b"/") {
                let folder =
                    anyhow!("{} names a folder: -d puts the file into it", EscapedPath(path));
                return Err(Failure::new(Exit::Usage, folder));
            }
            let name = path
                .file_name()
                .with_context(|| format!("{} is no file name", EscapedPath(path)))?;
            (path.parent().unwrap_or(Path::new("")).to_owned(), name.as_bytes())
        }
        (None, Some(dir)) => (dir.clone(), remote.file_name()),
        (None, None) => (PathBuf::new(), remote.file_name()),
    };
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let name = RemoteName::parse(name).context("the result cannot have that name")?;
    Ok((folder, name))
}

fn report(downloaded: &Downloaded, args: &Args, url: &Url) {
    let Downloaded { path, size, root, tally, elapsed } = downloaded;
    if args.output.json {
        let done = json!({
            "event": "done",
            "size": size,
            "blake3": root.to_string(),
            "seconds": elapsed.as_secs_f64(),
            "received_bytes": tally.received_bytes,
            "kept_bytes": tally.kept_bytes,
            "repaired_bytes": tally.repaired_bytes,
            "lost_connections": tally.lost_connections,
            "up_to_date": tally.was_up_to_date,
        });
        let done = progress::with_path(done, path.as_os_str().as_bytes());
        progress::print_json(&url.to_string(), done);
    } else if !args.output.quiet {
        output::event(summary(downloaded, args));
    }
}

fn summary(downloaded: &Downloaded, args: &Args) -> String {
    let Downloaded { path, size, root: _, tally, elapsed } = downloaded;
    if tally.was_up_to_date {
        return format!("{}: up to date ({})", EscapedPath(path), output::size(*size));
    }
    let Tally { received_bytes, kept_bytes, repaired_bytes, lost_connections, .. } = *tally;
    let mut parts = vec![format!(
        "{}: {} in {} ({}), BLAKE3 verified",
        EscapedPath(path),
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
