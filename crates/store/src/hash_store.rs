//! Hashes remembered across restarts, in SQLite. Losing it costs time, never correctness.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use towline_proto::digest::Md5Digest;
use towline_proto::escape::EscapedPath;
use towline_proto::piece::PieceHash;

use crate::version::Version;

/// The database's file in the state directory.
const FILE_NAME: &str = "hashes.sqlite";

/// Who may look into it, and into its folder, besides their owner: nobody.
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Number of the tables' shape; another one is set aside and begun anew.
const SCHEMA: i64 = 2;

/// Longest wait for another process that is writing.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Files smaller than this are hashed again faster than they are looked up.
const REMEMBERED_BYTES_MIN: u64 = 1_024 * 1_024;

/// The hashes of file versions seen before. Its calls read and write a small local database: make them
/// where blocking is allowed.
#[derive(Debug)]
pub struct HashStore {
    connection: Mutex<Connection>,
}

/// Why there is no hash store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashStoreError {
    /// The state directory cannot be made.
    #[error("cannot make the state directory {}: {source}", EscapedPath(path))]
    Folder {
        /// The state directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the hash store {} failed: {source}", EscapedPath(path))]
    Database {
        /// The database's file.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
}

impl HashStore {
    /// Opens the store in `state_dir`, making both where they are missing. A database that is damaged or
    /// of another shape is set aside and begun anew.
    pub fn open(state_dir: &Path) -> Result<Self, HashStoreError> {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(state_dir);
        made.map_err(|source| HashStoreError::Folder { path: state_dir.to_owned(), source })?;
        let path = state_dir.join(FILE_NAME);
        let connection = connect(&path)
            .or_else(|error| {
                if !is_damage(&error) {
                    return Err(error);
                }
                tracing::warn!("the hash store {path:?} is unusable ({error}); beginning anew");
                set_aside(&path);
                connect(&path)
            })
            .map_err(|source| HashStoreError::Database { path, source })?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// The MD5 that is remembered of a version.
    pub fn md5(&self, version: &Version) -> Result<Option<Md5Digest>, rusqlite::Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(
            "SELECT md5 FROM hashes WHERE file_system = ?1 AND inode = ?2 AND size = ?3
             AND modified_ns = ?4 AND changed_ns = ?5",
        )?;
        let key = key(version);
        statement.query_row(key, |row| row.get(0).map(Md5Digest)).optional()
    }

    /// Remembers the MD5 of a version, and forgets those of the file's earlier ones. Small files are not
    /// worth it and are left out.
    pub fn remember_md5(&self, version: &Version, md5: Md5Digest) -> Result<(), rusqlite::Error> {
        if version.size < REMEMBERED_BYTES_MIN {
            return Ok(());
        }
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // The table's key is the file, so that a new version takes the old one's place.
        let mut statement = connection.prepare_cached(
            "INSERT OR REPLACE INTO hashes (file_system, inode, size, modified_ns, changed_ns, md5)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let (file_system, inode, size, modified_ns, changed_ns) = key(version);
        statement
            .execute(params![file_system, inode, size, modified_ns, changed_ns, md5.0])
            .map(drop)
    }

    /// The runs of piece hashes that are remembered of a version, each with its first piece.
    pub fn pieces(&self, version: &Version) -> Result<Vec<(u32, Vec<PieceHash>)>, rusqlite::Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(
            "SELECT first, hashes FROM pieces WHERE file_system = ?1 AND inode = ?2 AND size = ?3
             AND modified_ns = ?4 AND changed_ns = ?5",
        )?;
        let runs = statement.query_map(key(version), |row| {
            let hashes: Vec<u8> = row.get(1)?;
            let (hashes, _) = hashes.as_chunks::<32>();
            Ok((row.get(0)?, hashes.iter().map(|hash| PieceHash(*hash)).collect()))
        })?;
        runs.collect()
    }

    /// Remembers runs of piece hashes of a version in one transaction, and forgets those of the file's earlier
    /// ones; a run takes the place of the one that began at the same piece. Small files are left out.
    pub fn remember_pieces<'a>(
        &self,
        version: &Version,
        runs: impl IntoIterator<Item = (u32, &'a [PieceHash])>,
    ) -> Result<(), rusqlite::Error> {
        if version.size < REMEMBERED_BYTES_MIN {
            return Ok(());
        }
        let (file_system, inode, size, modified_ns, changed_ns) = key(version);
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        transaction.execute(
            "DELETE FROM pieces WHERE file_system = ?1 AND inode = ?2
             AND (size, modified_ns, changed_ns) IS NOT (?3, ?4, ?5)",
            params![file_system, inode, size, modified_ns, changed_ns],
        )?;
        for (first, hashes) in runs {
            let hashes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO pieces
                     (file_system, inode, first, size, modified_ns, changed_ns, hashes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    file_system,
                    inode,
                    first,
                    size,
                    modified_ns,
                    changed_ns,
                    hashes
                ])?;
        }
        transaction.commit()
    }
}

/// A version in SQLite's signed integers; the bits are kept.
fn key(version: &Version) -> (i64, i64, i64, i64, i64) {
    (
        version.file_system.cast_signed(),
        version.inode.cast_signed(),
        version.size.cast_signed(),
        version.modified_ns,
        version.changed_ns,
    )
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    // SQLite's files have the modes of the first. What cannot be made, SQLite says.
    let _ = OpenOptions::new().append(true).create(true).mode(MODE).open(path);
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // A server that is confined has no folder for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    match connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
        SCHEMA => Ok(connection),
        0 => {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS hashes (
                     file_system INTEGER NOT NULL,
                     inode INTEGER NOT NULL,
                     size INTEGER NOT NULL,
                     modified_ns INTEGER NOT NULL,
                     changed_ns INTEGER NOT NULL,
                     md5 BLOB NOT NULL CHECK (length(md5) = 16),
                     PRIMARY KEY (file_system, inode)
                 ) STRICT, WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS pieces (
                     file_system INTEGER NOT NULL,
                     inode INTEGER NOT NULL,
                     first INTEGER NOT NULL,
                     size INTEGER NOT NULL,
                     modified_ns INTEGER NOT NULL,
                     changed_ns INTEGER NOT NULL,
                     hashes BLOB NOT NULL,
                     PRIMARY KEY (file_system, inode, first)
                 ) STRICT;
                 PRAGMA user_version = {SCHEMA};
                 COMMIT;"
            ))?;
            Ok(connection)
        }
        _ => Err(rusqlite::Error::InvalidQuery),
    }
}

/// Whether the file itself is at fault, so that a new one would serve.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error, rusqlite::Error::InvalidQuery)
        || matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Renames the database and removes its companions; what cannot be moved shows when it is opened next.
fn set_aside(path: &Path) {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let _ = std::fs::rename(path, beside(".unusable"));
    let _ = std::fs::remove_file(beside("-wal"));
    let _ = std::fs::remove_file(beside("-shm"));
}

#[cfg(test)]
mod tests {
    use towline_proto::digest::Md5Digest;

    use super::{FILE_NAME, HashStore, REMEMBERED_BYTES_MIN};
    use crate::version::Version;

    const VERSION: Version = Version {
        file_system: u64::MAX,
        inode: 7,
        size: REMEMBERED_BYTES_MIN,
        modified_ns: -1,
        changed_ns: 1,
    };
    const MD5: Md5Digest = Md5Digest([9; 16]);

    #[test]
    fn a_hash_survives_a_restart_and_holds_for_its_version_only() {
        let state = tempfile::tempdir().unwrap();
        HashStore::open(state.path()).unwrap().remember_md5(&VERSION, MD5).unwrap();
        let store = HashStore::open(state.path()).unwrap();
        assert_eq!(store.md5(&VERSION).unwrap(), Some(MD5));
        for other in [
            Version { file_system: 1, ..VERSION },
            Version { inode: 8, ..VERSION },
            Version { size: VERSION.size + 1, ..VERSION },
            Version { modified_ns: 0, ..VERSION },
            Version { changed_ns: 2, ..VERSION },
        ] {
            assert_eq!(store.md5(&other).unwrap(), None, "{other:?}");
        }
    }

    #[test]
    fn a_new_version_takes_the_place_of_the_old() {
        let state = tempfile::tempdir().unwrap();
        let store = HashStore::open(state.path()).unwrap();
        store.remember_md5(&VERSION, MD5).unwrap();
        let newer = Version { changed_ns: 2, ..VERSION };
        store.remember_md5(&newer, Md5Digest([1; 16])).unwrap();
        assert_eq!(store.md5(&VERSION).unwrap(), None);
        assert_eq!(store.md5(&newer).unwrap(), Some(Md5Digest([1; 16])));
    }

    #[test]
    fn small_files_are_not_stored() {
        let state = tempfile::tempdir().unwrap();
        let store = HashStore::open(state.path()).unwrap();
        let small = Version { size: REMEMBERED_BYTES_MIN - 1, ..VERSION };
        store.remember_md5(&small, MD5).unwrap();
        assert_eq!(store.md5(&small).unwrap(), None);
    }

    #[test]
    fn a_damaged_store_is_set_aside() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join(FILE_NAME), "this is no database ".repeat(500)).unwrap();
        let store = HashStore::open(state.path()).unwrap();
        store.remember_md5(&VERSION, MD5).unwrap();
        assert_eq!(store.md5(&VERSION).unwrap(), Some(MD5));
        assert!(state.path().join("hashes.sqlite.unusable").exists());
    }
}
