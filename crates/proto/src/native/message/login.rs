//! Proving who one is.

use std::fmt;

use prost::Message;

use super::MessageError;
use crate::limits::{SECRET_BYTES_MAX, USER_BYTES_MAX};
use crate::native::frame::{Kind, control};
use crate::native::wire;

/// What somebody shows to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Who they are, and what only they know.
    Password {
        /// The user's name.
        user: String,
        /// Theirs.
        password: Secret,
    },
    /// Something that stands for a user.
    Token(Secret),
}

/// A text that is shown to nobody but who must check it: neither logs nor errors contain it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// At least one byte and at most [`SECRET_BYTES_MAX`].
    pub fn new(text: String) -> Result<Self, MessageError> {
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(MessageError::Login);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Proof {
    /// A user's name and password, if they are within their caps.
    pub fn password(user: String, password: Secret) -> Result<Self, MessageError> {
        if user.is_empty() || user.len() > USER_BYTES_MAX {
            return Err(MessageError::Login);
        }
        Ok(Self::Password { user, password })
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let wire::LogIn { user, secret } = Message::decode(payload)?;
        let secret = Secret::new(secret)?;
        if user.is_empty() { Ok(Self::Token(secret)) } else { Self::password(user, secret) }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (user, secret) = match self {
            Self::Password { user, password } => (user.as_str(), password),
            Self::Token(token) => ("", token),
        };
        let login = wire::LogIn { user: user.to_owned(), secret: secret.0.clone() };
        control(Kind::LogIn, &login.encode_to_vec())
    }
}
