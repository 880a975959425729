//! Everything that decides who may do what, as it is at one moment.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use jiff::Timestamp;

use super::credentials::{Credentials, TokenEntry};
use super::gate::Login;
use super::password;
use super::token::Fingerprint;
use crate::policy::{Actions, Area, Policy, Principal};

/// Rules, users, and what users prove themselves with. Never changed: replaced as a whole.
#[derive(Debug)]
pub struct Access {
    policy: Policy,
    users: HashMap<String, User>,
    /// Hashes by user.
    passwords: HashMap<String, String>,
    tokens: HashMap<Fingerprint, Token>,
}

/// What is known of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The groups they are in.
    pub groups: Vec<String>,
    /// Names in client certificates that stand for them.
    pub certificates: Vec<String>,
}

#[derive(Debug)]
struct Token {
    id: String,
    user: String,
    expires: Option<Timestamp>,
    /// Where less than the user's rights.
    scope: Option<(Vec<Area>, Actions)>,
}

impl Access {
    /// These rules for these users. Entries that make no sense, or are about nobody, count for nothing; what they are
    /// is told.
    pub fn new(
        policy: Policy,
        users: HashMap<String, User>,
        credentials: Credentials,
    ) -> (Self, Vec<String>) {
        let mut ignored = Vec::new();
        let mut passwords = HashMap::new();
        for entry in credentials.password {
            if !users.contains_key(&entry.user) {
                ignored.push(format!("the password of {:?}, who is no user", entry.user));
            } else if password::is_hash(&entry.hash) {
                passwords.insert(entry.user, entry.hash);
            } else {
                ignored.push(format!("the password of {:?}: it is no Argon2 hash", entry.user));
            }
        }
        let mut tokens = HashMap::new();
        for entry in credentials.token {
            let id = entry.id.clone();
            match Token::parse(entry, &users) {
                Ok((fingerprint, token)) => drop(tokens.insert(fingerprint, token)),
                Err(reason) => ignored.push(format!("the token {id:?}: {reason}")),
            }
        }
        (Self { policy, users, passwords, tokens }, ignored)
    }

    /// What holds where nobody configured anything: everybody reads and lists everything.
    pub fn open() -> Self {
        Self::new(Policy::open(), HashMap::new(), Credentials::default()).0
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What a user's password is compared with.
    pub(super) fn password_of(&self, user: &str) -> Option<&str> {
        self.passwords.get(user).map(String::as_str)
    }

    /// Who has proved this; `None` where it proves nothing any more.
    pub(super) fn principal(&self, login: &Login, now: Timestamp) -> Option<Principal> {
        match login {
            Login::Nobody => Some(Principal::anonymous()),
            Login::Password { user, hash } => {
                let is_current = self.password_of(user) == Some(&**hash);
                is_current.then(|| self.user(user)).flatten()
            }
            Login::Token(fingerprint) => {
                let token = self.tokens.get(fingerprint)?;
                if token.expires.is_some_and(|expires| expires <= now) {
                    return None;
                }
                let principal = self.user(&token.user)?;
                Some(match token.scope.clone() {
                    Some((areas, actions)) => principal.within(areas, actions),
                    None => principal,
                })
            }
            Login::Certificate(certificate) => {
                let names = certificate.names();
                let is_theirs =
                    |user: &User| names.iter().any(|name| user.certificates.contains(name));
                let mut users = self.users.iter().filter(|(_, user)| is_theirs(user));
                let principal = users.next().map_or_else(Principal::anonymous, |(name, user)| {
                    Principal::user(name, &user.groups)
                });
                Some(principal.with_certificate(names))
            }
        }
    }

    /// Which passwords and tokens are others than in `before`, a text each.
    pub(crate) fn credentials_changed_since(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let users: BTreeSet<_> = self.passwords.keys().chain(before.passwords.keys()).collect();
        for user in users {
            match (before.password_of(user), self.password_of(user)) {
                (None, Some(_)) => changes.push(format!("the password of {user} is new")),
                (Some(_), None) => changes.push(format!("the password of {user} is gone")),
                (old, new) if old != new => {
                    changes.push(format!("the password of {user} is another one"));
                }
                _ => {}
            }
        }
        let only_in = |one: &Self, other: &Self, what: &str| {
            let only = one.tokens.iter().filter(|(key, _)| !other.tokens.contains_key(*key));
            let mut texts: Vec<_> = only.map(|(_, token)| format!("{token} {what}")).collect();
            texts.sort();
            texts
        };
        changes.extend(only_in(self, before, "is new"));
        changes.extend(only_in(before, self, "is revoked"));
        changes
    }

    fn user(&self, name: &str) -> Option<Principal> {
        self.users.get(name).map(|user| Principal::user(name, &user.groups))
    }
}

impl Token {
    fn parse(
        entry: TokenEntry,
        users: &HashMap<String, User>,
    ) -> Result<(Fingerprint, Self), String> {
        let TokenEntry { id, user, hash, expires, paths, allow, .. } = entry;
        let fingerprint = Fingerprint::parse(&hash).ok_or("its hash is none")?;
        if !users.contains_key(&user) {
            return Err(format!("{user:?} is no user"));
        }
        let areas = paths.iter().map(|path| Area::parse(path)).collect::<Result<Vec<_>, _>>();
        let areas = areas.map_err(|error| error.to_string())?;
        let scope = match (areas.is_empty(), allow.is_empty()) {
            (true, true) => None,
            (true, false) => Some((vec![Area::everything()], Actions::of(&allow))),
            (false, true) => Some((areas, Actions::all())),
            (false, false) => Some((areas, Actions::of(&allow))),
        };
        Ok((fingerprint, Self { id, user, expires, scope }))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token {} of {}", self.id, self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::credentials::PasswordEntry;

    fn access(passwords: &[(&str, &str)], tokens: &[&str]) -> Access {
        let password = |(user, salt): &(&str, &str)| PasswordEntry {
            user: (*user).into(),
            hash: format!("$argon2id$v=19$m=8,t=1,p=1${salt}$c29tZWhhc2hzb21laGFzaA"),
        };
        let token = |id: &&str| TokenEntry {
            id: (*id).into(),
            user: "ann".into(),
            hash: Fingerprint::of(id).to_hex(),
            created: Timestamp::UNIX_EPOCH,
            expires: None,
            paths: Vec::new(),
            allow: Vec::new(),
        };
        let credentials = Credentials {
            password: passwords.iter().map(password).collect(),
            token: tokens.iter().map(token).collect(),
        };
        let users = ["ann", "bob"].map(|name| (name.into(), User::default()));
        let (access, ignored) = Access::new(Policy::open(), HashMap::from(users), credentials);
        assert_eq!(ignored, [""; 0]);
        access
    }

    #[test]
    fn what_changed_of_passwords_and_tokens_is_told() {
        let before = access(&[("ann", "c29tZXNhbHQ")], &["one", "two"]);
        let after = access(&[("ann", "b3RoZXJzYWx0"), ("bob", "c29tZXNhbHQ")], &["two", "three"]);
        let changes = after.credentials_changed_since(&before);
        assert_eq!(
            changes,
            [
                "the password of ann is another one",
                "the password of bob is new",
                "the token three of ann is new",
                "the token one of ann is revoked",
            ]
        );
        assert_eq!(after.credentials_changed_since(&after), [""; 0]);
    }
}
