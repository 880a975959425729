//! The log's lines about a transfer.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use towline_client::monitor::{Event, Monitor};
use towline_client::trust::Kept;

use super::messages::Retry;
use super::state::Tenths;
use crate::acquaintance::Announcement;

/// Logs connections, every tenth of the way, errors, and the checksum.
pub(super) struct Log {
    name: String,
    tenths: Mutex<Tenths>,
}

impl Log {
    /// Logs a transfer of `name`, which is safe to print.
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), tenths: Mutex::new(Tenths::new()) }
    }
}

impl Monitor for Log {
    fn on_event(&self, event: &Event<'_>) {
        let name = &self.name;
        let mut tenths = self.tenths.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = tenths.note(event, Instant::now());
        match event {
            Event::Connecting { address, attempt } => {
                tracing::info!("{name}: connecting to {address}, attempt {attempt}");
            }
            Event::Connections { count } => tracing::info!("{name}: connections: {count}"),
            Event::Connected { peer } => tracing::info!("{name}: connected to {peer}"),
            Event::Trusted { news } if matches!(news.kept, Kept::New) => {
                tracing::info!("{}", Announcement(news));
            }
            Event::Trusted { news } => tracing::warn!("{}", Announcement(news)),
            Event::Started { size, md5 } => {
                let md5 = md5.map(|md5| format!(", MD5 {md5}")).unwrap_or_default();
                tracing::info!("{name}: {size} bytes follow{md5}");
            }
            Event::Damaged { bytes } => tracing::warn!("{name}: {bytes} bytes came damaged"),
            &Event::Retrying { error, attempt, wait, discarded_bytes } => {
                let retry = Retry { error, attempt, wait, discarded_bytes };
                tracing::warn!("{name}: attempt {attempt} failed: {retry}");
            }
            Event::FileFailed { path, reason } => tracing::warn!("{name}: {path}: {reason}"),
            Event::Verified { md5 } => tracing::info!("{name}: checksum verified, MD5 {md5}"),
            Event::Published { path } => tracing::info!("{name}: saved as {path:?}"),
            _ => {}
        }
        if let Some(percent) = reached {
            tracing::info!("{name}: {percent} %");
        }
    }
}
