//! Paths of this machine where URLs are asked for: `photos/a.jpg` is either.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use tokio::net::lookup_host;
use tokio::time::timeout;
use towline_proto::escape::EscapedPath;

use crate::exit::{Exit, Failure};
use crate::url::{DEFAULT_PORT, Url};

/// Fails where something here has what is written for a name, and no server has its first part for one: there is
/// nothing to wait for then.
pub(super) async fn refuse(urls: &[Url], silence_max: Duration) -> Result<(), Failure> {
    for url in urls {
        let Some(path) = as_path(url).filter(|path| path.exists()) else { continue };
        // Where no name is looked up in time, nobody can tell.
        let looked_up = timeout(silence_max, lookup_host(url.address.to_string())).await;
        if !looked_up.is_ok_and(|found| found.is_err()) {
            continue;
        }
        let (path, host) = (EscapedPath(&path), &url.address.host);
        let here = anyhow!(
            "{path} is on this machine, and no server is called {host}: files come from servers, as HOST[:PORT]/PATH"
        );
        return Err(Failure::new(Exit::Usage, here));
    }
    Ok(())
}

/// What the URL would be as a path, where it may be one.
fn as_path(url: &Url) -> Option<PathBuf> {
    let path = url.path.as_ref().filter(|_| url.address.port == DEFAULT_PORT)?;
    Some(Path::new(&url.address.host.to_string()).join(OsStr::from_bytes(path.as_bytes())))
}
