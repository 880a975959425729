//! Bringing a file to the disk while it is still being written, so that the last wait for the disk is short.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Syncs one file, from several threads if need be.
#[derive(Clone, Debug)]
pub struct Syncer {
    file: Arc<File>,
    /// A failure that was not reported yet: the kernel reports it only once per open file. Locked while syncing, so
    /// that no other thread receives it instead.
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Syncer {
    pub(crate) fn new(file: Arc<File>) -> Self {
        Self { file, failure: Arc::default() }
    }

    /// Writes what the file holds so far to the disk. Blocks. A failure is told by the syncing that ends the transfer.
    pub fn sync_ahead(&self) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = self.file.sync_data().err();
        }
    }

    /// Whether something is known to have failed that was not told yet. A sync under way is not waited for.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.try_lock().is_ok_and(|failure| failure.is_some())
    }

    /// Writes content and metadata to the disk. Blocks; fails also for what failed before.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            Some(error) => Err(error),
            None => self.file.sync_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_on_the_way_is_told_at_the_end_and_once() {
        // A pipe cannot be synced.
        let (_reader, writer) = std::io::pipe().unwrap();
        let syncer = Syncer::new(Arc::new(File::from(std::os::fd::OwnedFd::from(writer))));
        syncer.clone().sync_ahead();
        assert!(syncer.has_failed());
        assert_eq!(syncer.finish().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(!syncer.has_failed());
    }

    #[test]
    fn a_sync_under_way_is_not_waited_for() {
        let syncer = Syncer::new(Arc::new(tempfile::tempfile().unwrap()));
        let _under_way = syncer.failure.lock().unwrap();
        assert!(!syncer.has_failed());
    }

    #[test]
    fn a_file_is_synced_while_it_grows() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let syncer = Syncer::new(Arc::clone(&file));
        io::Write::write_all(&mut &*file, b"some").unwrap();
        syncer.sync_ahead();
        io::Write::write_all(&mut &*file, b"more").unwrap();
        syncer.finish().unwrap();
    }
}
