//! What a client remembers of a server's key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// What every pin's text begins with.
const PREFIX: &str = "sha256:";

/// The SHA-256 of a certificate's public key with its algorithm (`SubjectPublicKeyInfo`, RFC 7469, section 2.4): a new
/// certificate for the same key has the same pin.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// Why some text is no pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pin: write it as `sha256:` and 64 hexadecimal digits")]
pub struct PinError(String);

impl Pin {
    /// The pin of the key that a certificate is for.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, webpki::Error> {
        let key = EndEntityCert::try_from(certificate)?.subject_public_key_info();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &key).as_ref());
        Ok(Self(bytes))
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let mut bytes = [0; 32];
        let decoded =
            text.strip_prefix(PREFIX).and_then(|hex| hex::decode_to_slice(hex, &mut bytes).ok());
        decoded.map(|()| Self(bytes)).ok_or_else(|| PinError(text.to_owned()))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Pin;

    #[test]
    fn a_pin_is_read_as_it_is_written_and_nothing_else_is() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        for bad in ["", "sha256:", &text[..70], &text.replace("sha256", "md5"), &text[7..]] {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
    }
}
