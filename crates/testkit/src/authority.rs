//! An authority of a test's own, and the certificates that it gives to servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority with its files, which are gone with it.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and key, as files in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, readable by its owner alone.
    pub key: PathBuf,
}

impl Authority {
    /// An authority that nobody knew before.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        fs::write(folder.path().join("authority.pem"), certificate.pem()).expect("it has room");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The file with the authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Gives a certificate for a host, an address or a name, into files that begin with `prefix`. Called again, it puts
    /// another key and certificate in their place.
    pub fn issue(&self, prefix: &str, host: &str) -> Issued {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("the host is a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        let path = |what: &str| self.folder.path().join(format!("{prefix}-{what}.pem"));
        let issued = Issued { certificate: path("certificate"), key: path("key") };
        fs::write(&issued.certificate, certificate.pem()).expect("it has room");
        write_secret(&issued.key, &key.serialize_pem());
        issued
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).expect("it has room");
    let owner_alone = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, owner_alone).expect("it is ours");
}
