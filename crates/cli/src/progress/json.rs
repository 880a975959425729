//! Newline-delimited JSON for programs, one object per event on standard output.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use towline_client::monitor::{Event, Monitor};
use towline_client::trust::Kept;

use super::state::Progress;
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
  connections count (in use, when it changes; from get)
  progress    bytes (here: arrived, in holes, or kept from before), size, bytes_per_s (of what
              arrives) and seconds_left (both null while unknown), kept_bytes, repaired_bytes;
              at most five times a second
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
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    progress: Progress,
    at: Option<Instant>,
}

impl Json {
    fn note(&self, event: &Event<'_>) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.progress.note(event, now);
        let Told { progress, at } = &mut *told;
        match event {
            Event::Started { .. } => *at = None,
            Event::Received { .. } | Event::Holes { .. } | Event::Kept { .. } => {
                let is_due = at.is_none_or(|at| now.duration_since(at) >= PROGRESS_INTERVAL);
                if is_due || progress.done_bytes() == progress.size {
                    *at = Some(now);
                    output::event(json!({
                        "event": "progress",
                        "bytes": progress.done_bytes(),
                        "size": progress.size,
                        "bytes_per_s": progress.bytes_per_s(now),
                        "seconds_left": progress.time_left(now).map(|left| left.as_secs_f64()),
                        "kept_bytes": progress.kept_bytes,
                        "repaired_bytes": progress.repaired_bytes,
                    }));
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
            Event::Verified { md5 } => json!({"event": "verified", "md5": md5.to_string()}),
            Event::Published { path } => {
                json!({"event": "published", "path": path.to_string_lossy()})
            }
            _ => return,
        };
        output::event(object);
    }
}
