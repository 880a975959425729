//! `towline get -r URL`: fetches a folder with all that is in it.

use std::os::unix::ffi::OsStrExt;

use anyhow::anyhow;
use serde_json::json;
use towline_client::native::tree::{
    Compare, Destination, LinkPolicy, Run, TreeFetched, TreeOptions, TreeTally, download_tree,
};
use towline_client::native::{Keep, Server};
use towline_proto::escape::EscapedPath;

use super::Args;
use crate::exit::{Exit, Failure};
use crate::signals::Endings;
use crate::url::Url;
use crate::{output, progress};

/// Most failures that are printed; all are counted.
const FAILURES_TOLD: usize = 100;

/// Shown in the help.
pub(super) const TREES: &str = "\
With -r, `get -r HOST/photos -d DIR` makes DIR/photos, and again brings DIR/photos up to date;
with a slash at its end, `get -r HOST/photos/ -d DIR` brings what is in it into DIR itself;
-o names the folder itself either way. Files of the same size and modification time are taken
for the same. What is here and differs stays as it is, unless -f is given; nothing is removed.
Folders that are here keep their times and permissions likewise.
With -j N, at most N connections bring content: half of them files of up to 1 MiB, the others
larger ones, at least one each (so that -j 1 makes two); one more lists, and brings none.
Larger files come side by side, a connection for each 16 MiB, and all for one that is alone.
Without -r, files that a pattern matches come one after the other. Many small ones come faster
with -r, as one stream: `get -r HOST/logs/ --include '/*.gz' --exclude '*/' -d DIR`.";

/// What belongs to trees alone.
#[derive(clap::Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct TreeArgs {
    /// Fetch a folder with all that is in it
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// With -r: make the tree's symbolic links here too, if they stay inside it [default: leave them out]
    #[arg(long, requires = "recursive")]
    links: bool,
    /// With -r: do not keep permissions [default: keep them, but for writing by everybody, setuid and setgid]
    #[arg(long, requires = "recursive")]
    no_perms: bool,
    /// With -r: compare files that are there by their content, which both sides read, and not by size and time
    #[arg(short = 'c', long, requires = "recursive")]
    checksum: bool,
    /// With -r: only tell what would be fetched
    #[arg(short = 'n', long, requires = "recursive")]
    dry_run: bool,
}

/// What was found where a tree was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Tree,
    File,
}

impl Found {
    pub(super) fn is_a_file(self) -> bool {
        self == Self::File
    }
}

/// Fetches the tree unless a signal comes first; what has arrived is kept.
pub(super) async fn fetch(
    args: &Args,
    url: &Url,
    server: Server,
    endings: &mut Endings,
) -> Result<Found, Failure> {
    let options = options(args, url, server);
    let how_far = progress::HowFar::default();
    let mut watchers = progress::watchers(&args.output, &url.name(), &url.to_string());
    watchers.push(Box::new(how_far.clone()));
    if args.tree.dry_run && !args.output.json && !args.output.quiet {
        watchers.push(Box::new(progress::DryRun));
    }
    let fetched = tokio::select! {
        result = download_tree(&options, &watchers) => match result {
            Err(error) if error.is_about_a_file() && !args.tree.dry_run => return Ok(Found::File),
            result => result.map_err(|error| if error.keeps_what_came() {
                how_far.add_to(error.into())
            } else {
                error.into()
            }),
        },
        _ = endings.next() => Err(how_far.interrupted()),
    };
    // The bar goes before the report comes.
    drop(watchers);
    report(&fetched?, args, url).map(|()| Found::Tree)
}

fn options(args: &Args, url: &Url, server: Server) -> TreeOptions {
    let tree = &args.tree;
    TreeOptions {
        server,
        folder: url.path.clone(),
        rules: args.filter.rules.clone(),
        place: place(args, url),
        busy: args.busy(),
        existing: args.existing(),
        compare: if tree.checksum { Compare::Content } else { Compare::SizeAndTime },
        links: if tree.links { LinkPolicy::KeepInside } else { LinkPolicy::Skip },
        keep: if tree.no_perms { Keep::Time } else { Keep::TimeAndMode },
        run: if tree.dry_run { Run::Dry } else { Run::Real },
        connections: args.connections,
        backoff: args.patience.backoff(),
        durability: args.durability(),
        limit: args.limit(),
    }
}

/// Where the tree goes: a slash at the URL's end stands for what is in the folder, none for the folder itself.
fn place(args: &Args, url: &Url) -> Destination {
    if let Some(path) = &args.output_path {
        return Destination::At(path.clone());
    }
    let folder = args.dir.clone().unwrap_or_else(|| ".".into());
    match &url.path {
        Some(path) if !url.has_slash => Destination::Within(folder, path.file_name().to_vec()),
        _ => Destination::At(folder),
    }
}

fn report(fetched: &TreeFetched, args: &Args, url: &Url) -> Result<(), Failure> {
    let TreeFetched { path, tally, failures, elapsed } = fetched;
    if args.output.json {
        let done = json!({
            "event": "done",
            "files": tally.arrived_files,
            "same_files": tally.same_files,
            "kept_files": tally.kept_files,
            "folders": tally.folders,
            "links": tally.links,
            "skipped_links": tally.skipped_links,
            "skipped_others": tally.skipped_others,
            "failed_files": failures.count,
            "received_bytes": tally.received_bytes,
            "kept_bytes": tally.kept_bytes,
            "repaired_bytes": tally.repaired_bytes,
            "lost_connections": tally.lost_connections,
            "seconds": elapsed.as_secs_f64(),
        });
        let done = progress::with_path(done, path.as_os_str().as_bytes());
        progress::print_json(&url.to_string(), done);
    } else if !args.output.quiet {
        output::event(summary(fetched, args));
    }
    if failures.count == 0 {
        return Ok(());
    }
    for (path, reason) in failures.first.iter().take(FAILURES_TOLD) {
        output::message(format_args!("  {path}: {reason}"));
    }
    let told = failures.first.len().min(FAILURES_TOLD) as u64;
    if failures.count > told {
        output::message(format_args!(
            "  and {} more; --log-dir keeps them all",
            failures.count - told
        ));
    }
    let count = output::count(failures.count, "file or folder", "files or folders");
    Err(Failure::new(Exit::Partial, anyhow!("{count} of {} failed", EscapedPath(path))))
}

fn summary(fetched: &TreeFetched, args: &Args) -> String {
    let TreeFetched { path, tally, elapsed, .. } = fetched;
    let files = |count| output::count(count, "file", "files");
    let TreeTally { arrived_files, received_bytes, same_files, kept_files, kept_bytes, .. } =
        *tally;
    let mut parts = Vec::new();
    if args.tree.dry_run {
        let size = output::size(tally.found_bytes);
        parts.push(format!("would fetch {} ({size})", files(tally.found_files)));
    } else if arrived_files > 0 {
        parts.push(format!(
            "{}, {} in {} ({}), BLAKE3 verified",
            files(arrived_files),
            output::size(received_bytes),
            output::seconds(*elapsed),
            output::rate(received_bytes, *elapsed),
        ));
    }
    if same_files > 0 || parts.is_empty() {
        parts.push(format!("{} up to date", files(same_files)));
    }
    if kept_files > 0 || kept_bytes > 0 {
        parts.push(format!("{} ({}) resumed", files(kept_files), output::size(kept_bytes)));
    }
    if tally.repaired_bytes > 0 {
        parts.push(format!("{} repaired", output::size(tally.repaired_bytes)));
    }
    if tally.skipped_links > 0 {
        let links = output::count(tally.skipped_links, "symbolic link", "symbolic links");
        let advice = if args.tree.links { "lead out of the tree" } else { "--links keeps them" };
        parts.push(format!("{links} left out ({advice})"));
    }
    if tally.skipped_others > 0 {
        parts.push(format!("{} special files left out", tally.skipped_others));
    }
    if tally.lost_connections > 0 {
        parts.push(format!("connections lost: {}", tally.lost_connections));
    }
    if args.no_sync && !args.tree.dry_run {
        parts.push("not synced to the disk (--no-sync)".into());
    }
    format!("{}: {}", EscapedPath(path), parts.join("; "))
}
