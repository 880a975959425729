//! The key and the certificate that a peer shows, made by openssl.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{answer, line};

/// A P-256 key, which is the kind that towline has too, and a certificate by itself for one address.
///
/// Clients that are given the certificate as their only authority verify it in full.
pub(in crate::bench) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// Makes both in `folder`.
    pub(in crate::bench) fn make(folder: &Path, address: Ipv4Addr) -> Result<Self> {
        let path = |name: &str| folder.join(name);
        let (config, certificate, key) =
            (path("certificate.cnf"), path("certificate.pem"), path("key.pem"));
        fs::write(
            &config,
            format!(
                "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = extensions\n\
                 [name]\nCN = {address}\n\
                 [extensions]\nsubjectAltName = IP:{address}\nbasicConstraints = critical, CA:FALSE\n"
            ),
        )?;
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-days", "2", "-nodes", "-newkey", "ec"]);
        command.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config"]).arg(&config);
        command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        if answer(&mut command).is_none() {
            bail!("`{}` failed", line(&command));
        }
        Ok(Self { certificate, key })
    }

    /// PEM; an authority's too.
    pub(in crate::bench) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// PEM, readable by its owner.
    pub(in crate::bench) fn key(&self) -> &Path {
        &self.key
    }
}
