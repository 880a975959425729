//! What can be done here, whichever wire asks: the one caller of the store.

use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use towline_proto::digest::Md5Digest;
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{List, SmallFile};
use towline_store::digester::{DigestError, Digester, Md5Counts};
use towline_store::filter::{Filter, PatternError};
use towline_store::hash_store::HashStore;
use towline_store::local::{LocalFile, OpenError};
use towline_store::piece_hashes::PieceHashes;
use towline_store::small_files::SmallFileError;

use crate::auth::{Caller, Denied};
use crate::budgets::Budgets;
use crate::listing::Listing;
use crate::metrics::Metrics;
use crate::pieced_file::{Hashers, PiecedFile};
use crate::policy::Action;
use crate::shares::{Files, Shares};

/// The operations on what is served, each for somebody who asks and only as far as the rules allow.
#[derive(Debug)]
pub(crate) struct Service {
    digester: Arc<Digester>,
    piece_hashes: Arc<PieceHashes>,
    budgets: Arc<Budgets>,
    metrics: Arc<Metrics>,
}

/// Why somebody does not get what they ask for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Open(error.into())
    }
}

/// Reads small files in a folder, each for whoever may.
#[derive(Debug)]
pub(crate) struct SmallFileReader {
    shares: Arc<Shares>,
    folder: Option<RemoteName>,
    /// Opened for the first file that may be read: whoever may read none does not learn whether there is a folder.
    files: Option<Files>,
}

/// Why a small file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SmallFileRefused {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Unread(#[from] SmallFileError),
}

impl Service {
    /// Works within `budgets`, and computes MD5s with as many `workers` at once.
    pub(crate) fn new(
        hash_store: Option<Arc<HashStore>>,
        workers: usize,
        budgets: Arc<Budgets>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            digester: Digester::new(hash_store.clone(), workers),
            piece_hashes: Arc::new(PieceHashes::new(hash_store)),
            budgets,
            metrics,
        }
    }

    /// Opens a file for reading.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        name: &RemoteName,
    ) -> Result<LocalFile, ServeError> {
        caller.check(Action::Read, Some(name))?;
        let (root, name) = caller.shares().locate_file(name)?;
        let opened =
            spawn_blocking(move || root.open_file(&name)).await.map_err(io::Error::from)?;
        Ok(opened?)
    }

    /// Opens a file for reading by pieces.
    pub(crate) async fn open_pieced(
        &self,
        caller: &Caller,
        name: &RemoteName,
    ) -> Result<PiecedFile, ServeError> {
        let file = self.open(caller, name).await?;
        let piece_hashes = Arc::clone(&self.piece_hashes);
        let hashers = Hashers {
            budgets: Arc::clone(&self.budgets),
            metrics: Arc::clone(&self.metrics),
            source: caller.source(),
        };
        let look_up = move || PiecedFile::new(file, &piece_hashes, hashers);
        Ok(spawn_blocking(look_up).await.map_err(io::Error::from)??)
    }

    /// Begins to list what the caller may see of a folder.
    pub(crate) async fn list(&self, caller: Caller, list: List) -> Result<Listing, ServeError> {
        if list.folder.is_some() || !caller.sees_a_share() {
            caller.check(Action::List, list.folder.as_ref())?;
        }
        let start = move || {
            let filter = Filter::new(&list.rules)?;
            Ok(Listing::start(&list, filter, caller)?)
        };
        spawn_blocking(start).await.map_err(io::Error::from)?
    }

    /// Opens a folder for reading small files in it, where the caller may read everything; otherwise each of them is
    /// checked first.
    pub(crate) async fn small_files(
        &self,
        caller: &Caller,
        folder: Option<RemoteName>,
    ) -> Result<SmallFileReader, ServeError> {
        let shares = Arc::clone(caller.shares());
        if !caller.reads_everything() {
            return Ok(SmallFileReader { shares, folder, files: None });
        }
        let open = move || {
            let files = Some(Files::open(&shares, folder.as_ref())?);
            Ok(SmallFileReader { shares, folder, files })
        };
        spawn_blocking(open).await.map_err(io::Error::from)?
    }

    /// The MD5 of an open file; takes as long as reading the file the first time.
    pub(crate) async fn md5(&self, file: &LocalFile) -> Result<Md5Digest, DigestError> {
        self.digester.md5(file).await
    }

    /// How many MD5s there were.
    pub(crate) fn md5s(&self) -> Md5Counts {
        self.digester.counts()
    }

    /// Ends what goes on without anybody waiting for it.
    pub(crate) fn close(&self) {
        self.digester.close();
    }
}

impl SmallFileReader {
    /// What the file at `path` below the folder is called; `None` where that is too long for a name.
    pub(crate) fn name_of(&self, path: &RemoteName) -> Option<RemoteName> {
        path.below(self.folder.as_ref()).ok()
    }

    /// The name of the share that the file at `path` below the folder is in, where shares have names.
    pub(crate) fn share_of(&self, path: &RemoteName) -> Option<RemoteName> {
        self.shares.share_of(self.folder.as_ref().unwrap_or(path))
    }

    /// Closes folders until more is read: see [`Files::stand_still`].
    pub(crate) fn stand_still(&mut self) {
        self.files.iter_mut().for_each(Files::stand_still);
    }

    /// Reads the file at `path` below the folder into `content`, whose capacity is kept, if `caller` may. The code that
    /// calls this records denials.
    pub(crate) fn read(
        &mut self,
        caller: &Caller,
        path: &RemoteName,
        content: &mut Vec<u8>,
    ) -> Result<SmallFile, SmallFileRefused> {
        if !Arc::ptr_eq(&self.shares, caller.shares()) {
            (self.shares, self.files) = (Arc::clone(caller.shares()), None);
        }
        if !caller.reads_everything() {
            let name = self.name_of(path).ok_or(SmallFileError::Open(OpenError::NotFound))?;
            caller.allows(Action::Read, Some(&name))?;
        }
        let files = match &mut self.files {
            Some(files) => files,
            none => {
                let opened = Files::open(&self.shares, self.folder.as_ref());
                none.insert(opened.map_err(SmallFileError::from)?)
            }
        };
        Ok(files.read(path, content)?)
    }
}
