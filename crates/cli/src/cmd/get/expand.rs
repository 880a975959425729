//! Patterns become what they match, by asking the server.

use anyhow::anyhow;
use towline_client::native::Server;
use towline_client::native::listing::{ListOptions, Lister};
use towline_proto::native::message::tree::{Depth, EntryKind};

use super::Args;
use crate::exit::{Exit, Failure};
use crate::servers::Servers;
use crate::url::Url;
use crate::{output, progress};

/// Most files that the patterns of one command may match; `-r` has no such cap.
const MATCHES_MAX: usize = 100_000;

/// The URLs, with what their patterns match in the place of those: files, and with `-r` folders.
pub(super) async fn patterns(args: &Args, servers: &mut Servers<'_>) -> Result<Vec<Url>, Failure> {
    let mut urls = Vec::new();
    for url in &args.url {
        if url.pattern.is_none() {
            urls.push(url.clone());
        } else {
            urls.extend(matches(args, url, servers.at(&url.address)?).await?);
        }
    }
    Ok(urls)
}

async fn matches(args: &Args, url: &Url, server: Server) -> Result<Vec<Url>, Failure> {
    let name = url.name();
    let monitor = progress::messages(&args.output, &name);
    let listing_failed = |error| Failure::session(&format!("{name} was not listed"), &error);
    let mut lister = Lister::new(ListOptions {
        server,
        folder: url.path.clone(),
        depth: Depth::Folder,
        rules: url.rules(),
        backoff: args.patience.backoff(),
    })
    .map_err(listing_failed)?;
    let (mut found, mut left_out) = (Vec::new(), 0_u64);
    while let Some(entries) = lister.next(&monitor).await.map_err(listing_failed)? {
        for entry in entries {
            let is_wanted = match entry.kind {
                EntryKind::File { .. } => true,
                EntryKind::Folder => args.tree.recursive,
                EntryKind::Link { .. } | EntryKind::Other => false,
            };
            if !is_wanted {
                left_out += 1;
                continue;
            }
            let path = entry.path.below(url.path.as_ref());
            let path = path.map_err(|error| anyhow!("{}: {error}", entry.path))?;
            found.push(Url { path: Some(path), pattern: None, has_slash: false, ..url.clone() });
            if found.len() > MATCHES_MAX {
                let many =
                    anyhow!("{name}: more than {MATCHES_MAX} names match; use -r with --include");
                return Err(Failure::new(Exit::Other, many));
            }
        }
    }
    let pattern = url.pattern.as_deref().unwrap_or_default();
    if found.is_empty() {
        let none = match left_out {
            0 => anyhow!("nothing in {name} matches {pattern}"),
            _ if args.tree.recursive => anyhow!("no file or folder in {name} matches {pattern}"),
            _ => anyhow!("no file in {name} matches {pattern}; -r fetches folders too"),
        };
        return Err(Failure::new(Exit::NotFound, none));
    }
    if left_out > 0 && !args.output.quiet && !args.output.json {
        let advice = if args.tree.recursive { "" } else { " (-r fetches folders)" };
        let entries = output::count(left_out, "entry", "entries");
        output::message(format_args!("{entries} that {pattern} matches left out{advice}"));
    }
    Ok(found)
}
