//! Tokens: 256 random bits that stand for a user, known here only by their hash.

use std::fmt;

/// What every token begins with, so that people and programs which search for secrets know one.
const PREFIX: &str = "towline_";

/// Random bytes in a token.
const SECRET_BYTES: usize = 32;

/// A token as its user holds it. It never shows itself but by [`Token::reveal`].
pub struct Token(String);

/// What a token is known by: BLAKE3 of its text. A secret of 256 bits needs no slow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(blake3::Hash);

impl Token {
    /// A new one.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self(format!("{PREFIX}{}", hex::encode(secret))))
    }

    /// The text, for the one time that it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Fingerprint {
    /// Of whatever somebody shows as a token.
    pub fn of(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(Self)
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, Token};

    #[test]
    fn tokens_differ_and_are_known_by_their_hash() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(one.reveal().len(), "towline_".len() + 64);
        let known = Fingerprint::of(one.reveal());
        assert_eq!(Fingerprint::parse(&known.to_hex()), Some(known));
        assert_ne!(known, Fingerprint::of(other.reveal()));
        assert!(!format!("{one:?}").contains(&one.reveal()[8..20]));
    }
}
