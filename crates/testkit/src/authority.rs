//! An authority of a test's own, and the certificates that it gives to servers and clients.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use time::OffsetDateTime;

/// An authority with its files, which are gone with it.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, readable by its owner alone.
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// An authority that nobody knew before.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for an authority");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate of its own");
        fs::write(folder.path().join("authority.pem"), certificate.pem()).expect("a written file");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The file with the authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Gives a certificate for a host, an address or a name, into files that begin with `prefix`. Called again, it puts
    /// another key and certificate in their place.
    pub fn issue(&self, prefix: &str, host: &str) -> Issued {
        self.sign(prefix, &CertificateParams::new(vec![host.to_owned()]).expect("a host"))
    }

    /// The same for a name, good for no longer than some seconds from now on.
    pub fn issue_for_seconds(&self, seconds: i64, prefix: &str, name: &str) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        self.sign(prefix, &params)
    }

    fn sign(&self, prefix: &str, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |what: &str| self.folder.path().join(format!("{prefix}-{what}.pem"));
        let issued = Issued { certificate: path("certificate"), key: path("key") };
        fs::write(&issued.certificate, certificate.pem()).expect("a written file");
        write_secret(&issued.key, &key.serialize_pem());
        issued
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).expect("a written file");
    let owner_alone = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, owner_alone).expect("a mode that can be set");
}
