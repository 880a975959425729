//! The piece hashes of open files: learned once, shared by all connections, remembered in the hash store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use towline_proto::piece::{Geometry, PieceHash, merge};

use crate::hash_store::HashStore;
use crate::local::LocalFile;
use crate::version::Version;

/// Pieces that are remembered together.
const GROUP_PIECES: usize = 1_024;

/// The piece hashes of all files that are open somewhere.
#[derive(Debug)]
pub struct PieceHashes {
    hash_store: Option<Arc<HashStore>>,
    open: Mutex<HashMap<Version, Weak<PieceTable>>>,
}

/// The piece hashes of one file version.
#[derive(Debug)]
pub struct PieceTable {
    version: Version,
    geometry: Geometry,
    hash_store: Option<Arc<HashStore>>,
    /// Loaded by the first who has the table, while others wait for it and nobody for them.
    known: OnceLock<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    /// One place per piece.
    hashes: Vec<Option<PieceHash>>,
    /// Groups with hashes that the store does not have yet.
    unsaved: Vec<bool>,
}

impl PieceHashes {
    /// Remembers hashes in `hash_store` if there is one.
    pub fn new(hash_store: Option<Arc<HashStore>>) -> Self {
        Self { hash_store, open: Mutex::default() }
    }

    /// The table of the version that was opened, shared with everyone who has it open. Blocks the first time,
    /// while remembered hashes are read.
    pub fn table(&self, file: &LocalFile, geometry: Geometry) -> Arc<PieceTable> {
        let table = self.unloaded(file.version, geometry);
        // Loads it, with no lock on all others.
        drop(table.lock());
        table
    }

    fn unloaded(&self, version: Version, geometry: Geometry) -> Arc<PieceTable> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = open.get(&version).and_then(Weak::upgrade) {
            return table;
        }
        let (hash_store, known) = (self.hash_store.clone(), OnceLock::new());
        let table = Arc::new(PieceTable { version, geometry, hash_store, known });
        open.retain(|_, table| table.strong_count() > 0);
        open.insert(version, Arc::downgrade(&table));
        table
    }
}

impl PieceTable {
    fn lock(&self) -> MutexGuard<'_, Known> {
        let known = self.known.get_or_init(|| Mutex::new(self.load()));
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self) -> Known {
        let count = self.geometry.count() as usize;
        let mut hashes = vec![None; count];
        let remembered = self.hash_store.as_ref().map(|store| store.pieces(&self.version));
        for (first, run) in remembered.into_iter().flat_map(log_failure) {
            let places = hashes.iter_mut().skip(first as usize);
            places.zip(run).for_each(|(place, hash)| *place = Some(hash));
        }
        Known { hashes, unsaved: vec![false; count.div_ceil(GROUP_PIECES)] }
    }

    /// The hash of a piece, if it is known.
    pub fn known(&self, index: u32) -> Option<PieceHash> {
        self.lock().hashes.get(index as usize).copied().flatten()
    }

    /// The BLAKE3 of the whole content, if all pieces' hashes are known.
    pub fn root(&self) -> Option<blake3::Hash> {
        let known = self.lock();
        let hashes: Vec<_> = known.hashes.iter().copied().collect::<Option<_>>()?;
        drop(known);
        merge(self.geometry, &hashes)
    }

    /// Takes note of a hash whose piece began to be read at `began`, unless the version had not settled then. The file
    /// still is the version: the caller has looked after the piece was read.
    pub fn learn(&self, index: u32, hash: PieceHash, began: SystemTime) {
        let since_1970 = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if !self.version.settled_at(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)) {
            return;
        }
        let index = index as usize;
        let mut known = self.lock();
        if let Some(place @ None) = known.hashes.get_mut(index) {
            *place = Some(hash);
            known.unsaved[index / GROUP_PIECES] = true;
        }
    }

    /// Saves what was learned to the store; blocks. A group is saved in runs without a gap, and saved again when more
    /// of it is known.
    pub fn save(&self) {
        let Some(store) = &self.hash_store else {
            return;
        };
        let mut known = self.lock();
        let unsaved = std::mem::take(&mut known.unsaved);
        known.unsaved = vec![false; unsaved.len()];
        let groups = unsaved.iter().enumerate().filter(|(_, unsaved)| **unsaved);
        let runs: Vec<_> = groups.flat_map(|(group, _)| known.runs(group)).collect();
        drop(known);
        if runs.is_empty() {
            return;
        }
        let runs = runs.iter().map(|(first, hashes)| (*first, hashes.as_slice()));
        if let Err(error) = store.remember_pieces(&self.version, runs) {
            tracing::warn!("the hash store cannot be written: {error}");
        }
    }
}

impl Known {
    /// The known hashes of a group, in runs without a gap.
    fn runs(&self, group: usize) -> Vec<(u32, Vec<PieceHash>)> {
        let start = group * GROUP_PIECES;
        let end = self.hashes.len().min(start + GROUP_PIECES);
        let mut runs: Vec<(u32, Vec<PieceHash>)> = Vec::new();
        let mut follows = false;
        for (index, hash) in (start..end).zip(&self.hashes[start..end]) {
            match (hash, runs.last_mut().filter(|_| follows)) {
                (Some(hash), Some((_, run))) => run.push(*hash),
                (Some(hash), None) => {
                    runs.push((u32::try_from(index).unwrap_or(u32::MAX), vec![*hash]));
                }
                (None, _) => {}
            }
            follows = hash.is_some();
        }
        runs
    }
}

fn log_failure(
    read: Result<Vec<(u32, Vec<PieceHash>)>, rusqlite::Error>,
) -> Vec<(u32, Vec<PieceHash>)> {
    read.inspect_err(|error| tracing::warn!("the hash store cannot be read: {error}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};

    use towline_proto::name::RemoteName;
    use towline_proto::piece::{Geometry, PieceHash};

    use super::PieceHashes;
    use crate::beneath::Links;
    use crate::hash_store::HashStore;
    use crate::hashing::hash_piece;
    use crate::local::{LocalFile, LocalRoot};

    const CONTENT_BYTES: usize = (3 << 20) + 5;

    fn file(folder: &tempfile::TempDir) -> (LocalFile, Geometry, Vec<u8>) {
        let content: Vec<u8> = (0..=252).cycle().take(CONTENT_BYTES).collect();
        std::fs::write(folder.path().join("file"), &content).unwrap();
        let root = LocalRoot::open(folder.path(), Links::Refuse).unwrap();
        let file = root.open_file(&RemoteName::parse(b"file").unwrap()).unwrap();
        let geometry = Geometry::of(file.version.size).unwrap();
        (file, geometry, content)
    }

    fn compute(file: &LocalFile, geometry: Geometry, index: u32) -> Option<PieceHash> {
        hash_piece(&file.file, geometry, index).unwrap()
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(10)
    }

    #[test]
    fn pieces_learned_make_up_the_root_and_survive_a_restart() {
        let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, geometry, content) = file(&folder);
        let open_store = || Some(Arc::new(HashStore::open(state.path()).unwrap()));
        let table = PieceHashes::new(open_store()).table(&file, geometry);
        for index in [3, 0, 1] {
            table.learn(index, compute(&file, geometry, index).unwrap(), later());
        }
        assert_eq!(table.root(), None, "a piece is missing");
        table.save();
        let table = PieceHashes::new(open_store()).table(&file, geometry);
        assert!(table.known(3).is_some() && table.known(2).is_none());
        table.learn(2, compute(&file, geometry, 2).unwrap(), later());
        table.save();
        let table = PieceHashes::new(open_store()).table(&file, geometry);
        assert_eq!(table.root(), Some(blake3::hash(&content)));
    }

    #[test]
    fn what_was_hashed_before_the_version_settled_is_not_believed_later() {
        let folder = tempfile::tempdir().unwrap();
        let (file, geometry, _) = file(&folder);
        let table = PieceHashes::new(None).table(&file, geometry);
        table.learn(0, compute(&file, geometry, 0).unwrap(), SystemTime::now());
        assert_eq!(table.known(0), None);
    }

    #[test]
    fn those_who_have_a_version_open_share_one_table() {
        let folder = tempfile::tempdir().unwrap();
        let (file, geometry, _) = file(&folder);
        let hashes = PieceHashes::new(None);
        let table = hashes.table(&file, geometry);
        assert!(Arc::ptr_eq(&table, &hashes.table(&file, geometry)));
        drop(table);
        assert_eq!(
            hashes.open.lock().unwrap().values().filter(|t| t.strong_count() > 0).count(),
            0
        );
    }

    #[test]
    fn a_table_that_is_being_loaded_holds_up_those_who_open_it_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let (slow, geometry, _) = file(&folder);
        let hashes = PieceHashes::new(None);
        let table = hashes.unloaded(slow.version, geometry);
        std::fs::rename(folder.path().join("file"), folder.path().join("slow")).unwrap();
        let (other, ..) = file(&folder);
        table.known.get_or_init(|| {
            assert!(Arc::ptr_eq(&table, &hashes.unloaded(slow.version, geometry)));
            assert_eq!(hashes.table(&other, geometry).known(0), None);
            Mutex::new(table.load())
        });
        assert!(Arc::ptr_eq(&table, &hashes.table(&slow, geometry)));
    }

    #[test]
    fn a_truncated_file_has_no_hash_of_its_missing_piece() {
        let folder = tempfile::tempdir().unwrap();
        let (file, geometry, _) = file(&folder);
        std::fs::write(folder.path().join("file"), "short").unwrap();
        assert_eq!(compute(&file, geometry, 1), None);
        assert_eq!(compute(&file, geometry, 4), None, "there is no such piece");
    }
}
