//! A monitor that remembers what it was told, and can be awaited.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use towline_client::monitor::{Event, Monitor};
use towline_proto::digest::Md5Digest;

/// An event, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Connecting { attempt: u32 },
    Connected(SocketAddr),
    Started { size: u64, md5: Option<Md5Digest> },
    Received { bytes: u64 },
    Retrying(Retry),
    Verified(Md5Digest),
    Published(PathBuf),
    Other(String),
}

/// A retry, with its reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) error: String,
    pub(crate) attempt: u32,
    pub(crate) wait: Duration,
    pub(crate) discarded_bytes: u64,
}

/// All that was told, in order.
#[derive(Debug, Default)]
pub(crate) struct Record {
    told: Mutex<Vec<Told>>,
    changed: Notify,
}

impl Record {
    /// Waits until something is told that `is_awaited`. For one who waits at a time.
    pub(crate) async fn wait_for(&self, is_awaited: impl Fn(&Told) -> bool) {
        while !self.lock().iter().any(&is_awaited) {
            self.changed.notified().await;
        }
    }

    /// What was told.
    pub(crate) fn into_told(self) -> Vec<Told> {
        self.told.into_inner().expect("no monitor panics")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().expect("no monitor panics")
    }
}

impl Monitor for Record {
    fn on_event(&self, event: &Event<'_>) {
        self.lock().push(keep(event));
        self.changed.notify_one();
    }
}

fn keep(event: &Event<'_>) -> Told {
    match *event {
        Event::Connecting { attempt, .. } => Told::Connecting { attempt },
        Event::Connected { peer } => Told::Connected(peer),
        Event::Started { size, md5 } => Told::Started { size, md5 },
        Event::Received { bytes } => Told::Received { bytes },
        Event::Retrying { error, attempt, wait, discarded_bytes } => {
            Told::Retrying(Retry { error: error.to_string(), attempt, wait, discarded_bytes })
        }
        Event::Verified { md5 } => Told::Verified(md5),
        Event::Published { path } => Told::Published(path.to_owned()),
        ref other => Told::Other(format!("{other:?}")),
    }
}
