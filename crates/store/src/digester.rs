//! The MD5 of a file version: computed once, shared by all who wait for it, and remembered.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use towline_proto::digest::Md5Digest;

use crate::hash_store::HashStore;
use crate::hashing::{FileMd5, Reading};
use crate::local::LocalFile;
use crate::version::Version;

/// How long hashing goes on after the last who waited has left. A client whose patience is shorter than the
/// hashing comes back and finds it further along; without this, a huge cold file could never be served to it.
const ABANDONED_AFTER: Duration = Duration::from_mins(10);

/// How many abandoned hashings may go on at once; beyond that, one is given up as soon as nobody waits for it.
const ABANDONED_MAX: usize = 16;

/// How soon it is noticed that somebody came back.
const COME_BACK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that are read in one turn. A worker takes turns, so that a small file waits for no huge one.
const TURN_BYTES: u64 = 32 << 20;

/// Computes MD5s, each version's at most once at a time, by a bounded number of workers.
#[derive(Debug)]
pub struct Digester {
    hash_store: Option<Arc<HashStore>>,
    workers: Semaphore,
    abandoned_places: Semaphore,
    closed: AtomicBool,
    abandoned_after: Duration,
    jobs: Mutex<HashMap<Version, Arc<Job>>>,
    known: AtomicU64,
    computed: AtomicU64,
}

/// How many MD5s were obtained since the start, by source. Those who waited for one together count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Md5Counts {
    /// From the hash store.
    pub known: u64,
    /// By reading the file.
    pub computed: u64,
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
            abandoned_places: Semaphore::new(ABANDONED_MAX),
            closed: AtomicBool::new(false),
            abandoned_after,
            jobs: Mutex::default(),
            known: AtomicU64::new(0),
            computed: AtomicU64::new(0),
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

    /// How many there were.
    pub fn counts(&self) -> Md5Counts {
        let [known, computed] =
            [&self.known, &self.computed].map(|count| count.load(Ordering::Relaxed));
        Md5Counts { known, computed }
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
            Some(md5) => {
                self.known.fetch_add(1, Ordering::Relaxed);
                Ok(md5)
            }
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
        tokio::select! {
            outcome = self.compute(file, &stop) => outcome,
            () = self.abandoned(job) => {
                stop.store(true, Ordering::Relaxed);
                Err(DigestError::Abandoned)
            }
        }
    }

    /// Reads and hashes the file, in turns with others.
    async fn compute(
        self: &Arc<Self>,
        file: &LocalFile,
        stop: &Arc<AtomicBool>,
    ) -> Result<Md5Digest, DigestError> {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut hashing = FileMd5::default();
        let md5 = loop {
            // Who waits longest comes next.
            let _worker = self.workers.acquire().await.map_err(|_| DigestError::Abandoned)?;
            let (this, file, stop) = (Arc::clone(self), file.clone(), Arc::clone(stop));
            let turn = move || {
                let is_wanted = || {
                    let is_over = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
                    !is_over(&stop) && !is_over(&this.closed)
                };
                let reading = hashing.read_on(&file.file, TURN_BYTES, is_wanted);
                (hashing, reading)
            };
            let (back, reading) = spawn_blocking(turn).await.map_err(io::Error::from)?;
            match reading? {
                Reading::Ended(md5) => break md5,
                Reading::Paused => hashing = back,
            }
        };
        if !file.is_unchanged()? {
            return Err(DigestError::Changed);
        }
        self.computed.fetch_add(1, Ordering::Relaxed);
        let began_ns = i64::try_from(began.as_nanos()).unwrap_or(i64::MAX);
        if file.version.settled_at(began_ns) {
            self.remember(file.version, md5).await;
        }
        Ok(md5)
    }

    /// Ends when nobody has waited for the outcome for a while, or at once where there are many such.
    async fn abandoned(&self, job: &Job) {
        loop {
            job.closed().await;
            let Ok(_place) = self.abandoned_places.try_acquire() else { return };
            let coming_back = async {
                while job.is_closed() {
                    sleep(COME_BACK_INTERVAL).await;
                }
            };
            if timeout(self.abandoned_after, coming_back).await.is_err() {
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

    async fn remember(self: &Arc<Self>, version: Version, md5: Md5Digest) {
        let this = Arc::clone(self);
        let remembering = move || {
            let Some(store) = &this.hash_store else { return };
            if let Err(error) = store.remember_md5(&version, md5) {
                tracing::warn!("the hash store cannot be written: {error}");
            }
        };
        // Its panic has been told.
        let _ = spawn_blocking(remembering).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use towline_proto::name::RemoteName;

    use super::{ABANDONED_MAX, DigestError, Digester};
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
        open_named(folder, "file")
    }

    fn open_named(folder: &std::path::Path, name: &str) -> LocalFile {
        let root = LocalRoot::open(folder, Links::Refuse).unwrap();
        root.open_file(&RemoteName::parse(name.as_bytes()).unwrap()).unwrap()
    }

    fn is_settled(file: &LocalFile) -> bool {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        file.version.settled_at(i64::try_from(now).unwrap())
    }

    /// Makes a file's change time old by waiting for the clock, which alone can do it.
    fn wait_until_settled(file: &LocalFile) {
        while !is_settled(file) {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_hundred_who_wait_share_one_computation() {
        let (_folder, file) = folder_with(&vec![1; 8 * MIB]);
        let digester = Digester::new(None, 1);
        // One thread, which does nothing else meanwhile.
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
        let found = remembered(&file);
        // On a machine that stood still meanwhile it is no fresh one any more.
        assert!(found.is_none() || is_settled(&file));
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

    #[tokio::test]
    async fn hashing_goes_on_after_the_last_who_waited_has_left_and_then_ends() {
        let (_folder, file) = folder_with(b"content");
        let digester = Digester::abandoning_after(Duration::from_millis(20), None, 1);
        let busy = digester.workers.acquire().await.unwrap();
        // One thread, which does nothing else before it has looked.
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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_small_file_waits_for_no_huge_one() {
        let (folder, _) = folder_with(b"");
        std::fs::File::create(folder.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
        let digester = Digester::new(None, 1);
        let _huge = digester.join_job(&open_named(folder.path(), "huge"));
        std::fs::write(folder.path().join("small"), "small").unwrap();
        assert!(digester.md5(&open_named(folder.path(), "small")).await.is_ok());
        digester.close();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_many_have_left_is_given_up_at_once() {
        let (folder, _) = folder_with(b"");
        let digester = Digester::new(None, 1);
        let _busy = digester.workers.acquire().await.unwrap();
        for number in 0..ABANDONED_MAX + 10 {
            let name = number.to_string();
            std::fs::write(folder.path().join(&name), "").unwrap();
            drop(digester.join_job(&open_named(folder.path(), &name)));
        }
        while digester.jobs.lock().unwrap().len() > ABANDONED_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(digester.abandoned_places.available_permits(), 0);
    }
}
