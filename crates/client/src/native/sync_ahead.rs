//! Having what came written to the disk while more comes.

use tokio::task::{JoinHandle, spawn_blocking};
use towline_store::staged::Durability;
use towline_store::syncer::Syncer;

/// Bytes that come between two syncs: enough that a disk's own time for each is lost in them.
const STEP_BYTES: u64 = 64 * 1_024 * 1_024;

/// Syncs every so many bytes, one sync at a time: a slow disk is asked less often, not more.
#[derive(Debug)]
pub(super) struct SyncAhead {
    syncer: Syncer,
    durability: Durability,
    unsynced_bytes: u64,
    running: Option<JoinHandle<()>>,
}

impl SyncAhead {
    pub(super) fn new(syncer: &Syncer, durability: Durability) -> Self {
        Self { syncer: syncer.clone(), durability, unsynced_bytes: 0, running: None }
    }

    /// Takes note that so many bytes more are written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.unsynced_bytes += bytes;
        let is_idle = self.running.as_ref().is_none_or(JoinHandle::is_finished);
        if self.durability == Durability::Synced && is_idle && self.unsynced_bytes >= STEP_BYTES {
            self.unsynced_bytes = 0;
            let syncer = self.syncer.clone();
            self.running = Some(spawn_blocking(move || syncer.sync_ahead()));
        }
    }
}
