//! Digests as values: parsed from and shown as hexadecimal.

use std::fmt;
use std::str::FromStr;

/// An MD5 digest (RFC 1321), which the classic protocol carries. It guards against accident only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5Digest(pub [u8; 16]);

/// Why some text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an MD5 of 32 hexadecimal digits")]
pub struct DigestError;

impl Md5Digest {
    /// Hexadecimal digits of a digest.
    pub const HEX_BYTES: usize = 32;

    /// Parses exactly 32 hexadecimal digits, of either case.
    pub fn parse_hex(text: &[u8]) -> Result<Self, DigestError> {
        let mut digest = [0; 16];
        hex::decode_to_slice(text, &mut digest).map_err(|_| DigestError)?;
        Ok(Self(digest))
    }
}

impl FromStr for Md5Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse_hex(text.as_bytes())
    }
}

impl fmt::Display for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Md5Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Md5Digest;

    #[test]
    fn either_case_is_read_and_lower_case_is_written() {
        let digest: Md5Digest = "D41D8CD98F00B204E9800998ECF8427E".parse().unwrap();
        assert_eq!(digest.to_string(), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn anything_but_32_digits_is_refused() {
        for text in ["", "d41d", "g41d8cd98f00b204e9800998ecf8427e", &"0".repeat(33)] {
            assert!(text.parse::<Md5Digest>().is_err(), "{text}");
        }
    }
}
