//! What a server shows: a key, and a certificate for it.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tempfile::NamedTempFile;
use towline_proto::escape::EscapedPath;

use super::{Pin, provider};

/// The own key and certificate, in the state folder.
const OWN_FILE: &str = "identity.pem";

/// The name in the own certificate. Clients know the key by its pin, not by a name.
const OWN_NAME: &str = "towline";

/// Largest file that is read for a key or certificates, in bytes.
const FILE_BYTES_MAX: u64 = 1_024 * 1_024;

/// Permission bits that the owner alone has.
const OTHERS: u32 = 0o077;

/// Permission bits of those outside the file's group, which may hold the keys of all of a host's servers.
const WORLD: u32 = 0o007;

/// A key with its certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    pin: Pin,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", EscapedPath(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A key that was made cannot be kept. Nobody has seen it yet.
    #[error("cannot keep a key in {}: {source}", EscapedPath(path))]
    Unkept {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others may read a secret.
    #[error("{} is open to other users (mode {mode:03o}): chmod it to 600", EscapedPath(path))]
    Exposed {
        /// The file with the key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file has not what it should have.
    #[error("{}: {reason}", EscapedPath(path))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Make(#[from] rcgen::Error),
    /// The key made here is of no use.
    #[error("cannot use the key that was made: {0}")]
    Own(rustls::Error),
}

impl Identity {
    /// The identity that is kept in `folder`, made at first use and readable by nobody else. Blocks.
    pub fn own(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(OWN_FILE);
        if !path.exists() {
            let unkept = |source| IdentityError::Unkept { path: folder.to_owned(), source };
            keep(folder, &make()?).map_err(unkept)?;
        }
        let pem = read(&path, OTHERS)?;
        Self::from_pem(&pem, &path, &pem, &path)
    }

    /// Whether one is kept in `folder`; otherwise it will be made there. Blocks.
    pub fn is_kept_in(folder: &Path) -> bool {
        folder.join(OWN_FILE).exists()
    }

    /// An identity that nobody will see again, for where nothing can be kept.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        let (pem, path) = (make()?, Path::new("the key made for this run"));
        Self::from_pem(pem.as_bytes(), path, pem.as_bytes(), path)
    }

    /// A certificate with those of its issuers, and its key, as an authority gives them (PEM). Blocks.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain = read(certificates, 0)?;
        Self::from_pem(&chain, certificates, &read(key, WORLD)?, key)
    }

    /// What clients know the key by.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    fn from_pem(
        chain: &[u8],
        chain_path: &Path,
        key: &[u8],
        key_path: &Path,
    ) -> Result<Self, IdentityError> {
        let unusable = |path: &Path, reason: String| {
            Err(IdentityError::Unusable { path: path.to_owned(), reason })
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = match chain {
            Ok(chain) if !chain.is_empty() => chain,
            Ok(_) => return unusable(chain_path, "has no certificate in PEM format".into()),
            Err(error) => return unusable(chain_path, format!("cannot be read as PEM: {error}")),
        };
        let Some(Ok(pin)) = chain.first().map(Pin::of) else {
            return unusable(chain_path, "the first certificate is malformed".into());
        };
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(error) => return unusable(key_path, format!("has no private key: {error}")),
        };
        match CertifiedKey::from_der(chain, key, &provider()) {
            Ok(certified) => Ok(Self { certified: Arc::new(certified), pin }),
            Err(error) => unusable(key_path, format!("does not go with the certificate: {error}")),
        }
    }
}

/// A new key and a certificate for it, in PEM.
fn make() -> Result<String, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = CertificateParams::new(vec![OWN_NAME.to_owned()])?.self_signed(&key)?;
    Ok(key.serialize_pem() + &certificate.pem())
}

/// Puts a new identity in its place, unless another process was faster.
fn keep(folder: &Path, pem: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Readable by its owner alone, from the beginning on.
    let mut draft = NamedTempFile::new_in(folder)?;
    draft.write_all(pem.as_bytes())?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(folder.join(OWN_FILE)) {
        Err(lost) if lost.error.kind() != io::ErrorKind::AlreadyExists => Err(lost.error),
        _ => File::open(folder)?.sync_all(),
    }
}

/// Reads a file that nobody with one of the `forbidden` permission bits may open.
fn read(path: &Path, forbidden: u32) -> Result<Vec<u8>, IdentityError> {
    let failed = |source| IdentityError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_own_identity_is_made_once_and_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("new/state");
        let first = Identity::own(&state).unwrap();
        assert_eq!(first.pin(), Identity::own(&state).unwrap().pin());
        let mode = std::fs::metadata(state.join(OWN_FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1, "no draft is left");
        assert_ne!(first.pin(), Identity::ephemeral().unwrap().pin());
    }

    #[test]
    fn a_key_that_cannot_be_kept_is_told_from_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let unkept = Identity::own(&file.join("state")).unwrap_err();
        assert!(matches!(unkept, IdentityError::Unkept { .. }), "{unkept}");
        std::fs::create_dir(folder.path().join(OWN_FILE)).unwrap();
        let unreadable = Identity::own(folder.path()).unwrap_err();
        assert!(!matches!(unreadable, IdentityError::Unkept { .. }), "{unreadable}");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Identity::own(folder.path()).unwrap();
        let path = folder.path().join(OWN_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::own(folder.path()).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod"), "{error}");
        // A group of key holders may read the key of a certificate that was given.
        assert!(Identity::from_files(&path, &path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert!(Identity::from_files(&path, &path).is_err());
    }

    #[test]
    fn files_without_a_key_or_with_another_one_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let (one, other) = (file("one", &make().unwrap()), file("other", &make().unwrap()));
        let empty = file("empty", "");
        assert!(Identity::from_files(&one, &one).is_ok());
        for (chain, key, reason) in [
            (&empty, &one, "no certificate"),
            (&one, &empty, "no private key"),
            (&one, &other, "does not go with"),
        ] {
            let error = Identity::from_files(chain, key).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
