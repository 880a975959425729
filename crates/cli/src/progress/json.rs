//! Newline-delimited JSON for programs, one object per event on standard output.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use towline_client::monitor::{Event, Monitor};
use towline_client::trust::Kept;

use crate::output;

/// Shortest time between two `progress` events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Shown in the help of commands that transfer.
pub(crate) const EVENTS: &str = "\
With --json, standard output has one JSON object per line, told apart by `event`:
  connecting  address, attempt
  connected   peer
  trusted     server, by (`pin sha256:HEX` or `ca FILE`), kept (whether it is remembered);
              only where that is news
  started     size (bytes), md5 (as declared by a classic server, else null)
  progress    bytes (arrived, or kept from before), size; at most five times a second
  damaged     bytes; they are fetched again
  retrying    attempt, error, wait_s, discarded_bytes
  verified    md5
  published   path
  done        path, size, seconds; from client: attempts; from get: blake3, received_bytes,
              kept_bytes, repaired_bytes, lost_connections, up_to_date
  failed      error, exit (the exit code)";

/// Prints events as they happen.
#[derive(Default)]
pub(crate) struct Json {
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    bytes: u64,
    size: u64,
    told: Option<Instant>,
}

impl Json {
    fn count(&self, bytes: u64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.bytes += bytes;
        let is_due = progress.told.is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL);
        if is_due || progress.bytes == progress.size {
            progress.told = Some(Instant::now());
            let Progress { bytes, size, .. } = *progress;
            output::event(json!({"event": "progress", "bytes": bytes, "size": size}));
        }
    }
}

impl Monitor for Json {
    fn on_event(&self, event: &Event<'_>) {
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
                let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
                *progress = Progress { size: *size, ..Progress::default() };
                let md5 = md5.map(|md5| md5.to_string());
                json!({"event": "started", "size": size, "md5": md5})
            }
            Event::Received { bytes } | Event::Kept { bytes } => return self.count(*bytes),
            Event::Damaged { bytes } => json!({"event": "damaged", "bytes": bytes}),
            Event::Retrying { error, attempt, wait, discarded_bytes } => json!({
                "event": "retrying",
                "attempt": attempt,
                "error": error.to_string(),
                "wait_s": wait.as_secs_f64(),
                "discarded_bytes": discarded_bytes,
            }),
            Event::Verified { md5 } => json!({"event": "verified", "md5": md5.to_string()}),
            Event::Published { path } => {
                json!({"event": "published", "path": path.to_string_lossy()})
            }
            _ => return,
        };
        output::event(object);
    }
}
