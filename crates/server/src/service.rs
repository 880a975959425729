//! What can be done here, whichever wire asks: the one caller of the store.

use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use towline_proto::digest::Md5Digest;
use towline_proto::name::RemoteName;
use towline_store::digester::{DigestError, Digester};
use towline_store::local::{LocalFile, LocalRoot, OpenError};

/// The operations on the served folder.
#[derive(Debug)]
pub(crate) struct Service {
    root: Arc<LocalRoot>,
    digester: Arc<Digester>,
}

impl Service {
    pub(crate) fn new(root: LocalRoot, digester: Arc<Digester>) -> Self {
        Self { root: Arc::new(root), digester }
    }

    /// Opens a file for reading.
    pub(crate) async fn open(&self, name: &RemoteName) -> Result<LocalFile, OpenError> {
        let (root, name) = (Arc::clone(&self.root), name.clone());
        spawn_blocking(move || root.open_file(&name)).await.map_err(io::Error::from)?
    }

    /// Ends what goes on without a connection that waits for it.
    pub(crate) fn close(&self) {
        self.digester.close();
    }

    /// The MD5 of an open file; takes as long as reading the file the first time.
    pub(crate) async fn md5(&self, file: &LocalFile) -> Result<Md5Digest, DigestError> {
        self.digester.md5(file).await
    }
}
