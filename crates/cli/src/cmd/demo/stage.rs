//! What the acts play on: a server in this process, a file, and a folder that is gone afterwards.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking};
use towline_client::classic::{self, Downloaded, Options};
use towline_client::connect::Address;
use towline_client::native::{self, Busy, Connections, Keep, Server};
use towline_client::retry::Backoff;
use towline_client::throttle::SharedThrottle;
use towline_client::trust::{Demand, KnownServers, Trust};
use towline_net::listen::listen;
use towline_net::tls::Pin;
use towline_net::tls::identity::Identity;
use towline_net::tls::server::Acceptor;
use towline_proto::classic::Request;
use towline_proto::escape::EscapedPath;
use towline_proto::name::RemoteName;
use towline_server::config::Config;
use towline_server::{Shutdown, StartError};
use towline_store::hashing::{FileHashes, hash_file};
use towline_store::staged::{Durability, Existing};

use crate::exit::{Exit, Failure};
use crate::progress::Bar;

/// Bytes of made-up content written at once.
const MADE_UP_CHUNK_BYTES: usize = 1_024 * 1_024;

/// Any free port on loopback.
const ANY_PORT: &str = "127.0.0.1:0";

/// Whether a transfer is encrypted.
#[derive(Clone, Copy)]
pub(super) enum Protection {
    None,
    Tls,
}

/// A running server and the file that it serves.
pub(super) struct Stage {
    pub(super) server: SocketAddr,
    pin: Pin,
    pub(super) file_name: RemoteName,
    pub(super) size: u64,
    hashes: FileHashes,
    folder: TempDir,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), StartError>>,
}

impl Stage {
    /// Makes a file of `size` bytes, or takes `file`, and starts a server of its folder.
    pub(super) async fn set(file: Option<&Path>, size: u64) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("towline-demo-").tempdir();
        let folder = folder
            .context("cannot make a temporary folder")
            .map_err(|error| Failure::new(Exit::LocalDisk, error))?;
        let path = match file {
            Some(file) => file
                .canonicalize()
                .with_context(|| format!("cannot read {}", EscapedPath(file)))
                .map_err(|error| Failure::new(Exit::NotFound, error))?,
            None => make_up(folder.path().join("served"), size).await?,
        };
        let hashes = hash(path.clone()).await?;
        let (Some(root), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Failure::new(Exit::NotFound, anyhow!("{} is no file", EscapedPath(&path))));
        };
        let file_name = RemoteName::parse(name.as_bytes()).context("cannot serve that name")?;

        let listener =
            listen(ANY_PORT.parse().context("a constant")?).context("cannot listen on loopback")?;
        let server = listener.local_addr().context("cannot tell the listening address")?;
        let identity = Identity::ephemeral().context("cannot make a key")?;
        let pin = identity.pin();
        let acceptor = Arc::new(Acceptor::new(identity).context("cannot encrypt")?);
        let defaults = Config::new(root, acceptor);
        let config = Config { state_dir: Some(folder.path().join("state")), ..defaults };
        let shutdown = Shutdown::default();
        let running = tokio::spawn(towline_server::run(vec![listener], config, shutdown.clone()));
        Ok(Self { server, pin, file_name, size: hashes.bytes, hashes, folder, shutdown, running })
    }

    /// Fetches the file from `address` by the classic protocol, with a bar, and compares the copy's bytes
    /// with the original's.
    pub(super) async fn fetch_classic(&self, address: SocketAddr) -> Result<Downloaded, Failure> {
        let request = Request::new(self.file_name.clone())
            .context("the classic protocol needs a name in UTF-8; rename the file")?;
        let host = address.ip().to_string().parse().context("an address is a host")?;
        let options = Options {
            address: Address { host, port: address.port() },
            request,
            folder: self.folder.path().join("fetched"),
            silence_max: Duration::from_secs(10),
            backoff: Backoff { initial: Duration::from_millis(500), ..Backoff::default() },
            chunk_bytes: 512 * 1_024,
            durability: Durability::Unsynced,
        };
        let bar = Bar::new(&self.file_name.to_string());
        let downloaded = classic::download(&options, &bar).await?;
        self.compare_and_remove(downloaded.path.clone()).await?;
        Ok(downloaded)
    }

    /// The same by the native protocol, over one connection, so that losing it shows.
    pub(super) async fn fetch_native(
        &self,
        address: SocketAddr,
        protection: Protection,
    ) -> Result<native::Downloaded, Failure> {
        let host = address.ip().to_string().parse().context("an address is a host")?;
        let address = Address { host, port: address.port() };
        let encryption = match protection {
            Protection::None => None,
            Protection::Tls => {
                // Nothing of a demo is remembered.
                let trust = Trust::establish(
                    &address,
                    Demand::Pin(self.pin),
                    KnownServers::new(None),
                    None,
                );
                Some(trust.context("cannot encrypt")?)
            }
        };
        let options = native::Options {
            server: Server::new(address, encryption, Duration::from_secs(10)),
            name: self.file_name.clone(),
            folder: self.folder.path().join("fetched").into(),
            target: RemoteName::parse(self.file_name.file_name()).context("a name has a name")?,
            busy: Busy::Fail,
            existing: Existing::Refuse,
            connections: Connections::Exactly(1),
            backoff: Backoff { initial: Duration::from_millis(500), ..Backoff::default() },
            durability: Durability::Unsynced,
            limit: SharedThrottle::new(None),
            keep: Keep::Nothing,
            expected: Some(self.hashes.blake3),
        };
        let bar = Bar::new(&self.file_name.to_string());
        let downloaded = native::download(&options, &bar).await?;
        self.compare_and_remove(downloaded.path.clone()).await?;
        Ok(downloaded)
    }

    /// Fails unless a copy has the original's bytes, read from the disk again.
    async fn compare_and_remove(&self, copy: PathBuf) -> Result<(), Failure> {
        let hashes = hash(copy.clone()).await?;
        if hashes.blake3 != self.hashes.blake3 {
            return Err(Failure::new(Exit::Integrity, anyhow!("the copy is not the original")));
        }
        std::fs::remove_file(copy).context("cannot remove the copy")?;
        Ok(())
    }

    /// Ends the server and removes the folder.
    pub(super) async fn clear(self) -> Result<(), Failure> {
        self.shutdown.drain();
        self.running.await.context("the server died")?.context("the server failed")?;
        self.folder.close().context("cannot remove the temporary folder")?;
        Ok(())
    }
}

/// Writes a file that no compression or deduplication makes small.
async fn make_up(folder: PathBuf, size: u64) -> Result<PathBuf, Failure> {
    let path = folder.join("demo.bin");
    let result = path.clone();
    let write = move || {
        std::fs::create_dir_all(&folder)?;
        let mut file = BufWriter::new(File::create(&path)?);
        let mut random = blake3::Hasher::new_derive_key("towline demo content").finalize_xof();
        let mut chunk = vec![0; MADE_UP_CHUNK_BYTES];
        let mut left = size;
        while left > 0 {
            random.fill(&mut chunk);
            let length = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&chunk[..length])?;
            left -= length as u64;
        }
        file.flush()
    };
    let written = spawn_blocking(write).await.context("making the file up died")?;
    written
        .context("cannot write the demo's file; choose a smaller --size, or set TMPDIR")
        .map_err(|error| Failure::new(Exit::LocalDisk, error))?;
    Ok(result)
}

async fn hash(path: PathBuf) -> Result<FileHashes, Failure> {
    let hashing = spawn_blocking(move || {
        File::open(&path)
            .and_then(|file| hash_file(&file, |_| ()))
            .with_context(|| format!("cannot read {}", EscapedPath(&path)))
    });
    let hashes = hashing.await.context("hashing died")?;
    hashes.map_err(|error| Failure::new(Exit::LocalDisk, error))
}
