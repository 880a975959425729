//! A file whose pieces are asked for: what is known of them, and what is computed of the rest.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;
use towline_net::source::Source;
use towline_proto::native::message::{Info, Version};
use towline_proto::piece::{Geometry, PieceHash};
use towline_store::hashing::{FilePiece, Reading};
use towline_store::local::LocalFile;
use towline_store::piece_hashes::{PieceHashes, PieceTable};

use crate::budgets::Budgets;
use crate::metrics::{HashSource, Metrics};

/// Pieces whose hashes are merged without a turn among those who hash: that takes a tenth of a millisecond.
const LIGHT_PIECES_MAX: u32 = 1_024;

/// Bytes of a piece that are hashed in one turn: more than most pieces have. A huge one keeps nobody waiting, and is given
/// up when nobody wants it any more.
const TURN_BYTES: u64 = 32 << 20;

/// A file that is open, with what is known of its pieces.
#[derive(Clone, Debug)]
pub(crate) struct PiecedFile {
    file: LocalFile,
    geometry: Geometry,
    hashes: Arc<PieceTable>,
    hashers: Hashers,
}

/// Who hashes its pieces, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Hashers {
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) metrics: Arc<Metrics>,
    /// Who asked for the file.
    pub(crate) source: Source,
}

/// Why a file that is open does not give what is asked of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("it is another version now")]
    Changed,
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// A piece's hash, known or being computed. When this is dropped, the computing is given up at its next turn.
#[derive(Debug)]
pub(crate) enum Hashing {
    Known(PieceHash),
    UnderWay(AbortOnDropHandle<Result<PieceHash, FileError>>),
}

impl PiecedFile {
    /// Looks up what is known; blocks.
    pub(crate) fn new(
        file: LocalFile,
        piece_hashes: &PieceHashes,
        hashers: Hashers,
    ) -> io::Result<Self> {
        let geometry = Geometry::of(file.version.size).map_err(io::Error::other)?;
        let hashes = piece_hashes.table(&file, geometry);
        Ok(Self { file, geometry, hashes, hashers })
    }

    /// The file itself.
    pub(crate) fn local(&self) -> &LocalFile {
        &self.file
    }

    /// How it is cut into pieces.
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The version that was opened.
    pub(crate) fn version(&self) -> Result<Version, FileError> {
        Ok(Version::new(&self.file.version.to_bytes()).map_err(io::Error::other)?)
    }

    /// What a client is told of it before it asks for pieces.
    pub(crate) async fn info(&self) -> Result<Info, FileError> {
        Ok(Info {
            version: self.version()?,
            geometry: self.geometry,
            modified_ns: self.file.version.modified_ns,
            mode: self.file.file.metadata()?.mode() & 0o777,
            root: self.root().await?,
            stored_bytes: self.file.stored_bytes()?,
        })
    }

    /// Whether less is stored than it is long.
    pub(crate) fn is_sparse(&self) -> Result<bool, FileError> {
        Ok(self.file.stored_bytes()? < self.geometry.file_bytes())
    }

    /// Fails unless it still is the version that was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), FileError> {
        if self.file.is_unchanged()? { Ok(()) } else { Err(FileError::Changed) }
    }

    /// The BLAKE3 of the content, if all its pieces' hashes are known.
    async fn root(&self) -> io::Result<Option<blake3::Hash>> {
        let (hashes, Hashers { budgets, source, .. }) = (Arc::clone(&self.hashes), &self.hashers);
        let place = match self.geometry.count() {
            0..=LIGHT_PIECES_MAX => None,
            _ => Some(budgets.hashing.take(*source, 1).await),
        };
        let merge = move || {
            // Whoever asked may be gone by now, but the thread is taken all the same.
            let _place = place;
            hashes.root()
        };
        Ok(spawn_blocking(merge).await?)
    }

    /// Begins to hash a piece unless its hash is known. The hash is the version's only if the file is unchanged
    /// afterwards.
    pub(crate) fn hash(&self, index: u32) -> Hashing {
        let metrics = &self.hashers.metrics;
        if let Some(known) = self.hashes.known(index) {
            metrics.count_piece_hash(HashSource::Known);
            return Hashing::Known(known);
        }
        metrics.count_piece_hash(HashSource::Computed);
        let computing = tokio::spawn(self.clone().compute_hash(index));
        Hashing::UnderWay(AbortOnDropHandle::new(computing))
    }

    /// Hashes a piece in turns with others, and remembers that.
    async fn compute_hash(self, index: u32) -> Result<PieceHash, FileError> {
        let Hashers { budgets, source, .. } = &self.hashers;
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let mut piece = FilePiece::new(self.geometry, index).ok_or_else(missing)?;
        let mut place = budgets.hashing.take(*source, 1).await;
        let began = SystemTime::now();
        let hashed = loop {
            let file = self.file.clone();
            let turn = move || {
                // Whoever asked may be gone by now, but the thread is taken all the same.
                let _place = place;
                let reading = piece.read_on(&file.file, TURN_BYTES);
                (piece, reading)
            };
            let (back, reading) = spawn_blocking(turn).await.map_err(io::Error::from)?;
            match reading {
                Ok(Reading::Paused) => {
                    (piece, place) = (back, budgets.hashing.take(*source, 1).await);
                }
                Ok(Reading::Ended(hash)) => break Ok(hash),
                Err(error) => break Err(error),
            }
        };
        // One that changed may have ended before the piece did.
        self.check_unchanged()?;
        let hash = hashed?;
        self.hashes.learn(index, hash, began);
        Ok(hash)
    }

    /// Has what was learned remembered, without waiting for it.
    pub(crate) fn save_hashes(&self) {
        let hashes = Arc::clone(&self.hashes);
        spawn_blocking(move || hashes.save());
    }
}

impl Hashing {
    /// The hash, once it is there.
    pub(crate) async fn ended(self) -> Result<PieceHash, FileError> {
        match self {
            Self::Known(hash) => Ok(hash),
            Self::UnderWay(computing) => computing.await.map_err(io::Error::from)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::task::yield_now;
    use towline_proto::name::RemoteName;
    use towline_store::beneath::Links;
    use towline_store::local::LocalRoot;

    use super::*;

    /// A file of nothing but a hole.
    fn sparse(folder: &tempfile::TempDir, bytes: u64, budgets: &Arc<Budgets>) -> PiecedFile {
        let file = tempfile::Builder::new().prefix("file").tempfile_in(folder.path()).unwrap();
        let (file, path) = file.keep().unwrap();
        file.set_len(bytes).unwrap();
        let name = path.file_name().unwrap().as_encoded_bytes();
        let root = LocalRoot::open(folder.path(), Links::Refuse).unwrap();
        let file = root.open_file(&RemoteName::parse(name).unwrap()).unwrap();
        let hashers = Hashers {
            budgets: Arc::clone(budgets),
            metrics: Arc::new(Metrics::new()),
            source: Source::of((Ipv4Addr::LOCALHOST, 1).into()),
        };
        PiecedFile::new(file, &PieceHashes::new(None), hashers).unwrap()
    }

    /// A file of so many pieces whose hashes are known.
    fn known(folder: &tempfile::TempDir, pieces: u32, budgets: &Arc<Budgets>) -> PiecedFile {
        let file = sparse(folder, u64::from(pieces) << 20, budgets);
        let later = SystemTime::now() + Duration::from_secs(10);
        (0..pieces).for_each(|index| file.hashes.learn(index, PieceHash([1; 32]), later));
        file
    }

    #[tokio::test]
    async fn the_root_of_a_huge_file_has_its_turn_among_those_who_hash() {
        let folder = tempfile::tempdir().unwrap();
        let budgets = Arc::new(Budgets::new(1, &Metrics::new()));
        let other = Source::of((Ipv4Addr::BROADCAST, 1).into());
        let busy = budgets.hashing.take(other, 1).await;
        let light = known(&folder, LIGHT_PIECES_MAX, &budgets);
        assert!(light.info().await.unwrap().root.is_some());
        let huge = known(&folder, LIGHT_PIECES_MAX + 1, &budgets);
        let mut asked = Box::pin(huge.info());
        tokio::select! {
            biased;
            _ = &mut asked => panic!("it did not wait for its turn"),
            () = async { for _ in 0..100 { yield_now().await } } => {}
        }
        drop(busy);
        assert!(asked.await.unwrap().root.is_some());
    }

    #[tokio::test]
    async fn a_gigantic_piece_keeps_nobody_waiting_and_ends_when_nobody_wants_it_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let budgets = Arc::new(Budgets::new(1, &Metrics::new()));
        // Cut as no file is that every file system can hold: hashing its piece takes hours.
        let geometry = Geometry::of(1 << 62).unwrap();
        let gigantic = PiecedFile { geometry, ..sparse(&folder, 1 << 40, &budgets) };
        let small = sparse(&folder, 1 << 20, &budgets);
        let hashing = gigantic.hash(0);
        assert!(small.hash(0).ended().await.is_ok());
        assert!(Arc::strong_count(&gigantic.file.file) > 1, "it is under way");
        drop(hashing);
        while Arc::strong_count(&gigantic.file.file) > 1 {
            yield_now().await;
        }
    }
}
