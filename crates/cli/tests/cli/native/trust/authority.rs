//! An authority of a test's own, and the certificates that it gives to servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority with its files, which are gone with it.
pub(super) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and key, as files in PEM.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    /// The certificate.
    pub(super) certificate: PathBuf,
    /// Its private key, readable by its owner alone.
    pub(super) key: PathBuf,
}

impl Authority {
    /// An authority that nobody knew before.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("authority.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The file with the authority's own certificate.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Gives a certificate for a host, an address or a name, into files that begin with `prefix`. Called again, it puts
    /// another key and certificate in their place.
    pub(super) fn issue(&self, prefix: &str, host: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |what: &str| self.folder.path().join(format!("{prefix}-{what}.pem"));
        let issued = Issued { certificate: path("certificate"), key: path("key") };
        fs::write(&issued.certificate, certificate.pem()).unwrap();
        write_secret(&issued.key, &key.serialize_pem());
        issued
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let owner_alone = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, owner_alone).unwrap();
}
