//! Passwords, known here only by their Argon2id hashes (RFC 9106).

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

/// Why a password has no hash.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(argon2::password_hash::Error);

/// What a password is compared with where there is no such user: no password has this hash, and comparing takes as
/// long as with any other.
static NOBODYS: LazyLock<Option<String>> = LazyLock::new(|| {
    let mut noise = [0; 32];
    getrandom::fill(&mut noise).ok()?;
    hash(&hex::encode(noise)).ok()
});

/// The hash of a password, with a salt of its own, in the PHC string format. Takes some 20 MiB and tens of
/// milliseconds.
pub fn hash(password: &str) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(HashError)?;
    Ok(hash.to_string())
}

/// Whether `password` has this hash. Without a hash it has not, after the same time.
pub(super) fn verify(password: &str, hash: Option<&str>) -> bool {
    // Made for the first who comes, whoever that is: a user who is not there shall not take longer.
    let nobodys = NOBODYS.as_deref();
    let Some(compared) = hash.or(nobodys) else { return false };
    let Ok(parsed) = PasswordHash::new(compared) else { return false };
    let is_right = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
    is_right && hash.is_some()
}

/// Whether a text is a hash that passwords can be compared with.
pub(super) fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str().starts_with("argon2"))
}

#[cfg(test)]
mod tests {
    use super::{hash, is_hash, verify};

    #[test]
    fn a_password_is_told_from_others_by_its_hash() {
        let kept = hash("correct horse").unwrap();
        assert!(kept.starts_with("$argon2id$") && is_hash(&kept), "{kept}");
        assert!(verify("correct horse", Some(&kept)));
        assert!(!verify("correct hors", Some(&kept)));
        assert!(!verify("", Some(&kept)));
        assert!(!verify("correct horse", None));
        assert!(!verify("x", Some("x")) && !is_hash("plain"));
    }
}
