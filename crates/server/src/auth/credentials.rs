//! The file of passwords' and tokens' hashes. Commands write it, servers read it again when it changes. Blocks.
#![expect(clippy::disallowed_methods, reason = "its owners read it, and not a connection's task")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use towline_proto::escape::EscapedPath;
use towline_store::private_file::{PrivateFile, PrivateFileError};

use crate::policy::Action;

/// A file of a million tokens is smaller; what is larger is no such file.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// All passwords and tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// At most one for a user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub password: Vec<PasswordEntry>,
    /// As many as users like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token: Vec<TokenEntry>,
}

/// A user's password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordEntry {
    /// Whose.
    pub user: String,
    /// Its Argon2id hash, in the PHC string format.
    pub hash: String,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// What it is called where it is listed and revoked.
    pub id: String,
    /// The user that it stands for.
    pub user: String,
    /// Its fingerprint: BLAKE3, 64 hexadecimal digits.
    pub hash: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; never where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Where it is good, as in rules; everywhere where there are none.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// What it is good for; everything where there is nothing.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Action>,
}

/// Why the file could not be used; what it held stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The system refused.
    #[error("cannot {doing} {}: {source}", EscapedPath(path))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file cannot be changed.
    #[error(transparent)]
    Unchanged(#[from] PrivateFileError),
    /// Others may read it.
    #[error("{} can be read by others (mode {mode:03o}); chmod 600 it", EscapedPath(path))]
    Lax {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no such file.
    #[error("{} is no file of credentials: {reason}", EscapedPath(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
}

impl Credentials {
    /// Reads the file; one that is not there holds nothing.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let io = |source| CredentialsError::Io { doing: "read", path: path.into(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(io)?,
        };
        let metadata = file.metadata().map_err(io)?;
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Lax { path: path.into(), mode });
        }
        if metadata.len() > FILE_BYTES_MAX {
            let reason = format!("it has more than {FILE_BYTES_MAX} bytes");
            return Err(CredentialsError::Malformed { path: path.into(), reason });
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        toml::from_str(&text).map_err(|error| {
            // The library's own text shows the line, which is a secret here.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let what = error.message().lines().next().unwrap_or_default();
            CredentialsError::Malformed {
                path: path.into(),
                reason: format!("line {line}: {what}"),
            }
        })
    }

    /// Changes the file: what others change at the same time is not lost, and it is old or new at any time.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, CredentialsError> {
        let file = PrivateFile::lock(path)?;
        let mut credentials = Self::load(path)?;
        let result = change(&mut credentials);
        let text = toml::to_string(&credentials).map_err(|error| CredentialsError::Malformed {
            path: path.into(),
            reason: error.to_string(),
        })?;
        file.replace(text.as_bytes())?;
        Ok(result)
    }
}

/// Reads a list that must not be empty: an empty list would mean nothing at all, and a missing one means everything.
fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(from)?;
    if list.is_empty() {
        return Err(D::Error::custom(
            "an empty list: leave the key out for everything, or the token out",
        ));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rustix::process::geteuid;
    use towline_testkit::lacking;

    use super::*;

    const MODE: u32 = 0o600;

    fn entry(id: &str) -> TokenEntry {
        TokenEntry {
            id: id.into(),
            user: "ann".into(),
            hash: "00".repeat(32),
            created: Timestamp::UNIX_EPOCH,
            expires: Some(Timestamp::UNIX_EPOCH),
            paths: vec!["/lab/**".into()],
            allow: vec![Action::Read],
        }
    }

    #[test]
    fn what_is_changed_is_read_again_and_only_by_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/credentials.toml");
        assert_eq!(Credentials::load(&path).unwrap(), Credentials::default());
        Credentials::change(&path, |all| all.token.push(entry("one"))).unwrap();
        Credentials::change(&path, |all| all.token.push(entry("two"))).unwrap();
        assert_eq!(Credentials::load(&path).unwrap().token, [entry("one"), entry("two")]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
    }

    #[test]
    fn what_root_changes_stays_the_servers() {
        const SERVER: u32 = 12_345;
        if !geteuid().is_root() {
            return lacking("only root gives files to somebody else");
        }
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(SERVER), Some(SERVER)).unwrap();
        let path = folder.path().join("credentials.toml");
        for id in ["one", "two"] {
            Credentials::change(&path, |all| all.token.push(entry(id))).unwrap();
            for file in [&path, &path.with_extension("lock")] {
                assert_eq!(fs::metadata(file).unwrap().uid(), SERVER, "{file:?}");
            }
        }
    }

    #[test]
    fn a_malformed_file_is_told_on_one_line_that_shows_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        for broken in ["user = 1", "hash = \"$argon2id$secret", "[[password]]\nhash = secret"] {
            fs::write(&path, format!("# first\n{broken}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(MODE)).unwrap();
            let error = Credentials::load(&path).unwrap_err().to_string();
            assert!(error.contains(": line ") && !error.contains('\n'), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_empty_list_is_not_taken_for_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        Credentials::change(&path, |all| all.token.push(entry("one"))).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (list, empty) in
            [("paths = [\"/lab/**\"]", "paths = []"), ("allow = [\"read\"]", "allow = []")]
        {
            fs::write(&path, text.replace(list, empty)).unwrap();
            let error = Credentials::load(&path).unwrap_err().to_string();
            assert!(error.contains("an empty list"), "{empty}: {error}");
        }
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                let add = move |all: &mut Credentials| all.token.push(entry(&number.to_string()));
                scope.spawn(move || Credentials::change(path, add).unwrap());
            }
        });
        assert_eq!(Credentials::load(&path).unwrap().token.len(), 8);
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Credentials::load(&path), Err(CredentialsError::Lax { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "[[token]]\nid = \"x\"\nextra = 1\n").unwrap();
        let error = Credentials::load(&path).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }
}
