//! What can be done here, whichever wire asks: the one caller of the store.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::{JoinHandle, spawn_blocking};
use towline_proto::digest::Md5Digest;
use towline_proto::name::RemoteName;
use towline_proto::piece::{Geometry, PieceHash};
use towline_store::digester::{DigestError, Digester};
use towline_store::local::{LocalFile, LocalRoot, OpenError};
use towline_store::piece_hashes::{PieceHashes, PieceTable};

/// The operations on the served folder.
#[derive(Debug)]
pub(crate) struct Service {
    root: Arc<LocalRoot>,
    digester: Arc<Digester>,
    piece_hashes: Arc<PieceHashes>,
}

/// A file that is open, with what is known of its pieces.
#[derive(Clone, Debug)]
pub(crate) struct PiecedFile {
    pub(crate) file: LocalFile,
    pub(crate) geometry: Geometry,
    hashes: Arc<PieceTable>,
}

/// A piece's hash, known or being computed, whether it is waited for or not.
#[derive(Debug)]
pub(crate) enum Hashing {
    Known(PieceHash),
    UnderWay(JoinHandle<io::Result<PieceHash>>),
}

impl Service {
    pub(crate) fn new(root: LocalRoot, digester: Arc<Digester>, hashes: PieceHashes) -> Self {
        Self { root: Arc::new(root), digester, piece_hashes: Arc::new(hashes) }
    }

    /// Opens a file for reading.
    pub(crate) async fn open(&self, name: &RemoteName) -> Result<LocalFile, OpenError> {
        let (root, name) = (Arc::clone(&self.root), name.clone());
        spawn_blocking(move || root.open_file(&name)).await.map_err(io::Error::from)?
    }

    /// Opens a file for reading by pieces.
    pub(crate) async fn open_pieced(&self, name: &RemoteName) -> Result<PiecedFile, OpenError> {
        let file = self.open(name).await?;
        let piece_hashes = Arc::clone(&self.piece_hashes);
        let look_up = move || {
            let geometry = Geometry::of(file.version.size).map_err(io::Error::other)?;
            let hashes = piece_hashes.table(&file, geometry);
            Ok(PiecedFile { file, geometry, hashes })
        };
        spawn_blocking(look_up).await.map_err(io::Error::from)?
    }

    /// The MD5 of an open file; takes as long as reading the file the first time.
    pub(crate) async fn md5(&self, file: &LocalFile) -> Result<Md5Digest, DigestError> {
        self.digester.md5(file).await
    }

    /// Ends what goes on without anybody waiting for it.
    pub(crate) fn close(&self) {
        self.digester.close();
    }
}

impl PiecedFile {
    /// The BLAKE3 of the content, if all its pieces' hashes are known.
    pub(crate) async fn root(&self) -> io::Result<Option<blake3::Hash>> {
        let hashes = Arc::clone(&self.hashes);
        Ok(spawn_blocking(move || hashes.root()).await?)
    }

    /// Begins to hash a piece unless its hash is known. The hash is the version's only if the file is unchanged
    /// afterwards.
    pub(crate) fn hash(&self, index: u32) -> Hashing {
        if let Some(known) = self.hashes.known(index) {
            return Hashing::Known(known);
        }
        let this = self.clone();
        let compute = move || {
            let began = SystemTime::now();
            let hash = this.hashes.compute(&this.file, index)?;
            if this.file.is_unchanged()? {
                this.hashes.learn(index, hash, began);
            }
            Ok(hash)
        };
        Hashing::UnderWay(spawn_blocking(compute))
    }

    /// Has what was learned remembered, without waiting for it.
    pub(crate) fn save_hashes(&self) {
        let hashes = Arc::clone(&self.hashes);
        spawn_blocking(move || hashes.save());
    }
}

impl Hashing {
    /// The hash, once it is there.
    pub(crate) async fn ended(self) -> io::Result<PieceHash> {
        match self {
            Self::Known(hash) => Ok(hash),
            Self::UnderWay(computing) => computing.await?,
        }
    }
}
