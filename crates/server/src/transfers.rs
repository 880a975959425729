//! The transfers under way, so that a shutdown can say what it waits for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use towline_proto::name::RemoteName;

/// All transfers under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transfers {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    under_way: BTreeMap<u64, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    name: RemoteName,
    extent: Extent,
    sent: AtomicU64,
}

#[derive(Debug)]
enum Extent {
    /// The file, of so many bytes.
    Bytes(u64),
    /// The file and so many others, all of them small.
    Others(usize),
}

/// One transfer, under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Transfer {
    id: u64,
    entry: Arc<Entry>,
    transfers: Transfers,
}

impl Transfers {
    /// Enters a transfer of a file of `size` bytes.
    pub(crate) fn begin(&self, peer: SocketAddr, name: RemoteName, size: u64) -> Transfer {
        self.enter(peer, name, Extent::Bytes(size))
    }

    /// Enters a transfer of a small file and `others`.
    pub(crate) fn begin_files(
        &self,
        peer: SocketAddr,
        first: RemoteName,
        others: usize,
    ) -> Transfer {
        self.enter(peer, first, Extent::Others(others))
    }

    fn enter(&self, peer: SocketAddr, name: RemoteName, extent: Extent) -> Transfer {
        let entry = Arc::new(Entry { peer, name, extent, sent: AtomicU64::new(0) });
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let id = entries.next_id;
        entries.next_id += 1;
        entries.under_way.insert(id, Arc::clone(&entry));
        Transfer { id, entry, transfers: self.clone() }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).under_way.len()
    }

    /// A line about each, the oldest first.
    pub(crate) fn describe(&self) -> Vec<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.under_way.values().map(ToString::to_string).collect()
    }
}

impl Transfer {
    /// The file, or the first of the files.
    pub(crate) fn name(&self) -> &RemoteName {
        &self.entry.name
    }

    /// Counts bytes sent; returns their sum.
    pub(crate) fn add_sent(&self, bytes: u64) -> u64 {
        self.entry.sent.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut entries = self.transfers.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.under_way.remove(&self.id);
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, peer, sent) = (&self.name, self.peer, self.sent.load(Ordering::Relaxed));
        match self.extent {
            Extent::Bytes(size) => write!(f, "{name} to {peer} ({sent} of {size} bytes)"),
            Extent::Others(others) => {
                write!(f, "{name} and {others} other small files to {peer} ({sent} bytes)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Transfers;
    use towline_proto::name::RemoteName;

    #[test]
    fn a_transfer_is_described_while_it_lasts() {
        let transfers = Transfers::default();
        let name = RemoteName::parse(b"big.iso").unwrap();
        let transfer = transfers.begin(([192, 0, 2, 1], 5_000).into(), name, 100);
        assert_eq!(transfer.add_sent(40), 40);
        assert_eq!(transfers.describe(), ["big.iso to 192.0.2.1:5000 (40 of 100 bytes)"]);
        let name = RemoteName::parse(b"docs/a").unwrap();
        let files = transfers.begin_files(([192, 0, 2, 1], 5_000).into(), name, 2);
        assert_eq!(files.add_sent(9), 9);
        let described = "docs/a and 2 other small files to 192.0.2.1:5000 (9 bytes)";
        assert_eq!(transfers.describe()[1], described);
        drop((transfer, files));
        assert!(transfers.describe().is_empty());
    }
}
