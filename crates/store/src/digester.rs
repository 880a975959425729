//! The MD5 of a file version: computed once, shared by all who wait for it, and remembered.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use towline_proto::digest::Md5Digest;

use crate::hash_store::HashStore;
use crate::hashing::{Pace, md5_of};
use crate::local::LocalFile;
use crate::version::Version;

/// How long hashing goes on after the last who waited has left. A client whose patience is shorter than the
/// hashing comes back and finds it further along; without this, a huge cold file could never be served to it.
const ABANDONED_AFTER: Duration = Duration::from_mins(10);

/// Computes MD5s, each version's at most once at a time, by a bounded number of workers.
#[derive(Debug)]
pub struct Digester {
    hash_store: Option<Arc<HashStore>>,
    workers: Semaphore,
    closed: AtomicBool,
    abandoned_after: Duration,
    jobs: Mutex<HashMap<Version, Arc<Job>>>,
}

/// The place where those who wait for one version find its outcome.
type Job = watch::Sender<Option<Result<Md5Digest, DigestError>>>;

/// Why there is no MD5.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DigestError {
    /// The file changed while it was read.
    #[error("the file changed while it was hashed")]
    Changed,
    /// Reading it failed.
    #[error("reading the file failed: {0}")]
    Read(Arc<io::Error>),
    /// Nobody waited any more.
    #[error("hashing was given up")]
    Abandoned,
}

impl From<io::Error> for DigestError {
    fn from(error: io::Error) -> Self {
        Self::Read(Arc::new(error))
    }
}

impl Digester {
    /// Computes at most `workers` MD5s at once, and remembers them in `hash_store` if there is one.
    pub fn new(hash_store: Option<Arc<HashStore>>, workers: usize) -> Arc<Self> {
        Self::abandoning_after(ABANDONED_AFTER, hash_store, workers)
    }

    fn abandoning_after(
        abandoned_after: Duration,
        hash_store: Option<Arc<HashStore>>,
        workers: usize,
    ) -> Arc<Self> {
        let workers = Semaphore::new(workers.max(1));
        Arc::new(Self {
            hash_store,
            workers,
            closed: AtomicBool::new(false),
            abandoned_after,
            jobs: Mutex::default(),
        })
    }

    /// The MD5 of the version that was opened. Dropping the future leaves the hashing to the others who
    /// wait, or to itself for ten minutes.
    pub async fn md5(self: &Arc<Self>, file: &LocalFile) -> Result<Md5Digest, DigestError> {
        let mut outcome = self.join_job(file);
        let outcome =
            outcome.wait_for(Option::is_some).await.map_err(|_| DigestError::Abandoned)?;
        outcome.clone().unwrap_or(Err(DigestError::Abandoned))
    }

    /// Ends all hashing, soon: who still waits is told that it was given up. Without this, a runtime that is
    /// shut down would wait for the hashing.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.workers.close();
    }

    /// Waits at the job of this version, which is begun if there is none.
    fn join_job(
        self: &Arc<Self>,
        file: &LocalFile,
    ) -> watch::Receiver<Option<Result<Md5Digest, DigestError>>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = jobs.get(&file.version) {
            return job.subscribe();
        }
        let (job, outcome) = watch::channel(None);
        let job = Arc::new(job);
        jobs.insert(file.version, Arc::clone(&job));
        tokio::spawn(Arc::clone(self).run_job(file.clone(), job));
        outcome
    }

    async fn run_job(self: Arc<Self>, file: LocalFile, job: Arc<Job>) {
        let outcome = match self.remembered(file.version).await {
            Some(md5) => Ok(md5),
            None => self.compute_unless_abandoned(&file, &job).await,
        };
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&file.version);
        job.send_replace(Some(outcome));
    }

    async fn compute_unless_abandoned(
        self: &Arc<Self>,
        file: &LocalFile,
        job: &Job,
    ) -> Result<Md5Digest, DigestError> {
        let stop = Arc::new(AtomicBool::new(false));
        let computing = async {
            let _worker = self.workers.acquire().await.map_err(|_| DigestError::Abandoned)?;
            let (this, file, stop) = (Arc::clone(self), file.clone(), Arc::clone(&stop));
            spawn_blocking(move || this.compute(&file, &stop)).await.map_err(io::Error::from)?
        };
        tokio::select! {
            outcome = computing => outcome,
            () = self.abandoned(job) => {
                stop.store(true, Ordering::Relaxed);
                Err(DigestError::Abandoned)
            }
        }
    }

    /// Reads and hashes the file; blocks.
    fn compute(&self, file: &LocalFile, stop: &AtomicBool) -> Result<Md5Digest, DigestError> {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let pace = || {
            if stop.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed) {
                Pace::Stop
            } else {
                Pace::GoOn
            }
        };
        let md5 = md5_of(&file.file, pace)?.ok_or(DigestError::Abandoned)?;
        if !file.is_unchanged()? {
            return Err(DigestError::Changed);
        }
        let began_ns = i64::try_from(began.as_nanos()).unwrap_or(i64::MAX);
        if file.version.settled_at(began_ns) {
            self.remember(&file.version, md5);
        }
        Ok(md5)
    }

    /// Ends when nobody has waited for the outcome for a while.
    async fn abandoned(&self, job: &Job) {
        loop {
            job.closed().await;
            tokio::time::sleep(self.abandoned_after).await;
            if job.is_closed() {
                return;
            }
        }
    }

    async fn remembered(self: &Arc<Self>, version: Version) -> Option<Md5Digest> {
        let this = Arc::clone(self);
        let lookup = move || match this.hash_store.as_ref()?.md5(&version) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!("the hash store cannot be read: {error}");
                None
            }
        };
        spawn_blocking(lookup).await.ok().flatten()
    }

    fn remember(&self, version: &Version, md5: Md5Digest) {
        let Some(store) = &self.hash_store else {
            return;
        };
        if let Err(error) = store.remember_md5(version, md5) {
            tracing::warn!("the hash store cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use towline_proto::name::RemoteName;

    use super::{DigestError, Digester};
    use crate::beneath::Links;
    use crate::hash_store::HashStore;
    use crate::local::{LocalFile, LocalRoot};

    const MIB: usize = 1 << 20;

    fn folder_with(content: &[u8]) -> (tempfile::TempDir, LocalFile) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), content).unwrap();
        let file = open(folder.path());
        (folder, file)
    }

    fn open(folder: &std::path::Path) -> LocalFile {
        let root = LocalRoot::open(folder, Links::Refuse).unwrap();
        root.open_file(&RemoteName::parse(b"file").unwrap()).unwrap()
    }

    /// Makes a file's change time old by waiting for the clock, which alone can do it.
    fn wait_until_settled(file: &LocalFile) {
        let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        while !file.version.settled_at(i64::try_from(now()).unwrap()) {
            std::thread::yield_now();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_who_wait_share_one_computation() {
        let (_folder, file) = folder_with(&vec![1; 8 * MIB]);
        let digester = Digester::new(None, 1);
        let waiting: Vec<_> = (0..100).map(|_| digester.join_job(&file)).collect();
        assert_eq!(digester.jobs.lock().unwrap().len(), 1);
        for mut outcome in waiting {
            assert!(outcome.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().is_ok());
        }
        assert_eq!(digester.jobs.lock().unwrap().len(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_settled_version_is_remembered_across_restarts_and_a_fresh_one_is_not() {
        let state = tempfile::tempdir().unwrap();
        let remembered =
            |file: &LocalFile| HashStore::open(state.path()).unwrap().md5(&file.version).unwrap();
        let new_digester =
            || Digester::new(Some(Arc::new(HashStore::open(state.path()).unwrap())), 1);
        let (_folder, file) = folder_with(&vec![2; 2 * MIB]);
        let md5 = new_digester().md5(&file).await.unwrap();
        assert_eq!(remembered(&file), None);
        wait_until_settled(&file);
        assert_eq!(new_digester().md5(&file).await.unwrap(), md5);
        assert_eq!(remembered(&file), Some(md5));
        assert_eq!(new_digester().md5(&file).await.unwrap(), md5);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_closed_digester_hashes_nothing() {
        let (_folder, file) = folder_with(b"content");
        let digester = Digester::new(None, 1);
        let busy = digester.workers.acquire().await.unwrap();
        let mut waiting = digester.join_job(&file);
        digester.close();
        drop(busy);
        let outcome = waiting.wait_for(Option::is_some).await.unwrap().clone();
        assert!(matches!(outcome, Some(Err(DigestError::Abandoned))));
        let error = digester.md5(&file).await.unwrap_err();
        assert!(matches!(error, DigestError::Abandoned), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_changed_gets_no_hash() {
        let (folder, file) = folder_with(b"old");
        std::fs::write(folder.path().join("file"), "newer").unwrap();
        let error = Digester::new(None, 1).md5(&file).await.unwrap_err();
        assert!(matches!(error, DigestError::Changed), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hashing_goes_on_after_the_last_who_waited_has_left_and_then_ends() {
        let (_folder, file) = folder_with(b"content");
        let digester = Digester::abandoning_after(Duration::from_millis(20), None, 1);
        let busy = digester.workers.acquire().await.unwrap();
        drop(digester.join_job(&file));
        assert_eq!(digester.jobs.lock().unwrap().len(), 1, "the job outlives who began it");
        let job = Arc::clone(digester.jobs.lock().unwrap().get(&file.version).unwrap());
        // Looks at the outcome without waiting for it as a client would.
        while job.borrow().is_none() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(*job.borrow(), Some(Err(DigestError::Abandoned))));
        drop(busy);
        assert!(digester.md5(&file).await.is_ok(), "asked again, it begins anew");
    }
}
