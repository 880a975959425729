//! Passwords that were compared a moment ago and were right: a transfer's connections prove the same, and comparing
//! is slow on purpose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use towline_proto::native::message::Secret;

/// How long a comparison is good for.
const GOOD_FOR: Duration = Duration::from_mins(5);

/// How many are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// What was right, under a key of this run's own: nothing here tells a password to whoever reads it.
#[derive(Debug)]
pub(super) struct PasswordCache {
    /// Without one, nothing is remembered.
    key: Option<[u8; blake3::KEY_LEN]>,
    right: Mutex<HashMap<blake3::Hash, Entry>>,
}

#[derive(Debug)]
struct Entry {
    hash: Arc<str>,
    since: Instant,
}

impl PasswordCache {
    pub(super) fn new() -> Self {
        let mut key = [0; blake3::KEY_LEN];
        let key = getrandom::fill(&mut key).ok().map(|()| key);
        Self { key, right: Mutex::default() }
    }

    /// The hash that this user's password was found to have.
    pub(super) fn hash_of(&self, user: &str, password: &Secret) -> Option<Arc<str>> {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = right.get(&self.digest(user, password)?)?;
        (entry.since.elapsed() < GOOD_FOR).then(|| Arc::clone(&entry.hash))
    }

    pub(super) fn remember(&self, user: &str, password: &Secret, hash: &Arc<str>) {
        let Some(digest) = self.digest(user, password) else { return };
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED_MAX {
            right.retain(|_, entry| entry.since.elapsed() < GOOD_FOR);
        }
        if right.len() < REMEMBERED_MAX {
            right.insert(digest, Entry { hash: Arc::clone(hash), since: Instant::now() });
        }
    }

    fn digest(&self, user: &str, password: &Secret) -> Option<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key?);
        // A length before the name, so that no part of one can pass for a part of the other.
        hasher.update(&(user.len() as u64).to_be_bytes());
        hasher.update(user.as_bytes()).update(password.reveal().as_bytes());
        Some(hasher.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_right_is_known_and_only_for_its_user() {
        let secret = |text: &str| Secret::new(text.into()).unwrap();
        let compared = PasswordCache::new();
        compared.remember("ann", &secret("horse"), &"hash".into());
        assert_eq!(compared.hash_of("ann", &secret("horse")).as_deref(), Some("hash"));
        for (user, password) in [("ann", "horses"), ("bob", "horse"), ("annh", "orse")] {
            assert!(compared.hash_of(user, &secret(password)).is_none());
        }
    }
}
