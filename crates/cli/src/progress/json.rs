//! Newline-delimited JSON for programs, one object per event on standard output.

use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use towline_client::monitor::{Event, Monitor};
use towline_client::trust::Kept;

use super::state::Progress;
use crate::output::{self, JsonLine};

/// Shortest time between two `progress` events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Shown in the help of commands that transfer.
pub(crate) const EVENTS: &str = "\
With --json, standard output has one JSON object per line, told apart by `event`. Each has `url`:
what is fetched, `towline://HOST:PORT/PATH` (percent-encoded; folders end in a slash where yours
did) or `classic://HOST:PORT/NAME`; null in a failure of the whole command. Where a `path` is not
UTF-8, `path_hex` has its bytes. Fields may be added; those that are here stay.
  connecting  address, attempt
  connected   peer
  trusted     server, by (`pin sha256:HEX` or `ca FILE`), kept (whether it is remembered);
              only where that is news
  started     size (bytes), md5 (as declared by a classic server, else null)
  connections count (in use, when it changes; from get)
  progress    bytes (here: arrived, in holes, or kept from before), size, bytes_per_s (of what
              arrives) and seconds_left (both null while unknown), kept_bytes, repaired_bytes,
              files and files_done (of a tree, else null);
              at most five times a second
  damaged     bytes; they are fetched again
  found       files, bytes (of a tree, that must come; may come several times)
  found_all   (no more will be found, but for what differs with --checksum)
  would_fetch path (below the tree), size (with --dry-run)
  file_failed path (below the tree), error (the others go on)
  retrying    attempt (since anything came), error, wait_s, discarded_bytes;
              one of the connections that are lost together
  verified    md5
  published   path (here)
  done        path (here), size, seconds; from client: attempts; from get: blake3,
              received_bytes, kept_bytes, repaired_bytes, lost_connections, up_to_date
              from get -r: path, files, same_files, kept_files, folders, links, skipped_links,
              skipped_others, failed_files, received_bytes, kept_bytes, repaired_bytes,
              lost_connections, seconds
  failed      error, exit (the exit code); where several URLs were given, the last one is about
              the whole command";

/// Prints events as they happen.
pub(crate) struct Json {
    url: String,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    progress: Progress,
    at: Option<Instant>,
    /// All that there is was told to be here.
    is_all: bool,
}

impl Json {
    /// Events about what is fetched from `url`.
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), told: Mutex::default() }
    }

    fn note(&self, event: &Event<'_>) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.progress.note(event, now);
        let Told { progress, at, is_all } = &mut *told;
        match event {
            Event::Started { .. } => *at = None,
            Event::Received { .. } | Event::Holes { .. } | Event::Kept { .. } => {
                let is_due = at.is_none_or(|at| now.duration_since(at) >= PROGRESS_INTERVAL);
                let is_all_now = progress.done_bytes() == progress.size;
                if is_due || is_all_now && !*is_all {
                    *at = Some(now);
                    *is_all = is_all_now;
                    print(
                        &self.url,
                        json!({
                            "event": "progress",
                            "bytes": progress.done_bytes(),
                            "size": progress.size,
                            "bytes_per_s": progress.bytes_per_s(now),
                            "seconds_left": progress.time_left(now).map(|left| left.as_secs_f64()),
                            "kept_bytes": progress.kept_bytes,
                            "repaired_bytes": progress.repaired_bytes,
                            "files": progress.files.as_ref().map(|files| files.found),
                            "files_done": progress.files.as_ref().map(|files| files.done),
                        }),
                    );
                }
            }
            _ => {}
        }
    }
}

impl Monitor for Json {
    fn on_event(&self, event: &Event<'_>) {
        self.note(event);
        let object = match event {
            Event::Connecting { address, attempt } => {
                json!({"event": "connecting", "address": address.to_string(), "attempt": attempt})
            }
            Event::Connected { peer } => json!({"event": "connected", "peer": peer.to_string()}),
            Event::Trusted { news } => json!({
                "event": "trusted",
                "server": news.place.to_string(),
                "by": news.way.to_string(),
                "kept": !matches!(news.kept, Kept::Not(_)),
            }),
            Event::Started { size, md5 } => {
                let md5 = md5.map(|md5| md5.to_string());
                json!({"event": "started", "size": size, "md5": md5})
            }
            Event::Connections { count } => json!({"event": "connections", "count": count}),
            Event::Damaged { bytes } => json!({"event": "damaged", "bytes": bytes}),
            Event::Retrying { error, attempt, wait, discarded_bytes } => json!({
                "event": "retrying",
                "attempt": attempt,
                "error": error.to_string(),
                "wait_s": wait.as_secs_f64(),
                "discarded_bytes": discarded_bytes,
            }),
            Event::Found { files, bytes } => {
                json!({"event": "found", "files": files, "bytes": bytes})
            }
            Event::FoundAll => json!({"event": "found_all"}),
            Event::WouldFetch { path, size } => {
                with_path(json!({"event": "would_fetch", "size": size}), path.as_bytes())
            }
            Event::FileFailed { path, reason } => {
                with_path(json!({"event": "file_failed", "error": reason}), path.as_bytes())
            }
            Event::Verified { md5 } => json!({"event": "verified", "md5": md5.to_string()}),
            Event::Published { path } => {
                with_path(json!({"event": "published"}), path.as_os_str().as_bytes())
            }
            _ => return,
        };
        print(&self.url, object);
    }
}

/// Prints an event about what is at `url`.
pub(crate) fn print(url: &str, mut event: Value) {
    event["url"] = url.into();
    output::event(JsonLine(event));
}

/// The object, with a path: where it is not UTF-8, also with its bytes.
pub(crate) fn with_path(mut object: Value, path: &[u8]) -> Value {
    object["path"] = String::from_utf8_lossy(path).into();
    if str::from_utf8(path).is_err() {
        object["path_hex"] = hex::encode(path).into();
    }
    object
}
