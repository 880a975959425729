//! How this user logs in to servers: by an environment variable, a file, or what `towline login` has kept.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use towline_client::connect::Address;
use towline_client::trust::Place;
use towline_proto::escape::EscapedPath;
use towline_proto::limits::SECRET_BYTES_MAX;
use towline_proto::native::message::{Proof, Secret};
use towline_store::private_file::PrivateFile;

/// A token for the servers of one command.
const TOKEN_VARIABLE: &str = "TOWLINE_TOKEN";

/// What is kept, in the configuration folder.
const FILE_NAME: &str = "logins.toml";

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// The file of kept logins is no larger.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Shown in the help of commands that log in.
pub(crate) const LOGINS: &str = "\
A server that asks who you are is told by --token-file, else by the variable TOWLINE_TOKEN, else
by what `towline login` has kept for it. Secrets go only to servers that are known, and never
without encryption.";

/// How to log in.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LoginArgs {
    /// File with a token; readable by its owner alone
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    token_file: Option<PathBuf>,
}

/// What is kept for servers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeptLogins {
    #[serde(default)]
    login: Vec<KeptLogin>,
}

/// What is kept for one.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeptLogin {
    /// Host and port.
    server: String,
    /// Nobody, where the secret is a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    secret: String,
}

impl std::fmt::Debug for KeptLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptLogin({}, {:?})", self.server, self.user)
    }
}

impl LoginArgs {
    /// What holds a token for whichever server this command asks, if anything does.
    pub(crate) fn one_token(&self) -> Option<&'static str> {
        let of_variable = || std::env::var_os(TOKEN_VARIABLE).map(|_| TOKEN_VARIABLE);
        self.token_file.as_ref().map(|_| "--token-file").or_else(of_variable)
    }

    /// How to log in to whichever server this command asks, where the user says it. Blocks.
    pub(crate) fn given(&self) -> anyhow::Result<Option<Proof>> {
        if let Some(path) = &self.token_file {
            let token = read_own(path, SECRET_BYTES_MAX as u64 + 2)
                .and_then(|text| token(text.trim().to_owned()));
            return token.context("--token-file").map(Some);
        }
        let Some(text) = std::env::var_os(TOKEN_VARIABLE) else { return Ok(None) };
        let text = text.into_string().map_err(|_| anyhow!("the token is no text"));
        text.and_then(token).with_context(|| format!("in {TOKEN_VARIABLE}")).map(Some)
    }
}

/// How to log in to this server, as `towline login` has kept it; `None` for nobody in particular. Blocks.
pub(crate) fn kept(address: &Address) -> anyhow::Result<Option<Proof>> {
    let server = Place::of(address).to_string();
    let Some(path) = kept_file() else { return Ok(None) };
    let login = load(&path)?.login.into_iter().find(|login| login.server == server);
    login.map(|login| proof(login.user, login.secret)).transpose()
}

/// A login of a user with a password, or by a token alone.
pub(crate) fn proof(user: Option<String>, secret: String) -> anyhow::Result<Proof> {
    let Some(user) = user else { return token(secret) };
    let password = Secret::new(secret);
    let proof = password.and_then(|password| Proof::password(user, password));
    proof.map_err(|_| anyhow!("the name or the password is empty, or too long"))
}

fn token(text: String) -> anyhow::Result<Proof> {
    let token = Secret::new(text).map_err(|_| anyhow!("the token is empty, or too long"))?;
    Ok(Proof::Token(token))
}

/// Keeps a login for this server, instead of the one before. Returns the file.
pub(crate) fn keep(address: &Address, proof: &Proof) -> anyhow::Result<PathBuf> {
    let path = kept_file().context("there is no folder for it: $HOME is not set")?;
    let server = Place::of(address).to_string();
    let (user, secret) = match proof {
        Proof::Password { user, password } => (Some(user.clone()), password),
        Proof::Token(token) => (None, token),
    };
    let new = KeptLogin { server, user, secret: secret.reveal().to_owned() };
    change(&path, |kept| {
        kept.login.retain(|login| login.server != new.server);
        kept.login.push(new.clone());
    })?;
    Ok(path)
}

/// Forgets the login for this server; tells whether there was one.
pub(crate) fn forget(address: &Address) -> anyhow::Result<bool> {
    let Some(path) = kept_file() else { return Ok(false) };
    let server = Place::of(address).to_string();
    let mut had = false;
    if load(&path)?.login.iter().any(|login| login.server == server) {
        change(&path, |kept| {
            let before = kept.login.len();
            kept.login.retain(|login| login.server != server);
            had = before > kept.login.len();
        })?;
    }
    Ok(had)
}

fn kept_file() -> Option<PathBuf> {
    let home = etcetera::choose_base_strategy().ok()?;
    Some(home.config_dir().join("towline").join(FILE_NAME))
}

/// What is in a file that nobody else may read, up to so many bytes.
fn read_own(path: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", EscapedPath(path));
    let file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    ensure!(!metadata.is_dir(), "{} is a folder, and a file is needed", EscapedPath(path));
    let mode = metadata.mode() & 0o777;
    ensure!(
        mode & OTHERS == 0,
        "{} can be read by others (mode {mode:03o}); chmod 600 it",
        EscapedPath(path)
    );
    let mut text = String::new();
    file.take(bytes_max).read_to_string(&mut text).with_context(cannot)?;
    Ok(text)
}

fn load(path: &Path) -> anyhow::Result<KeptLogins> {
    if matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return Ok(KeptLogins::default());
    }
    let text = read_own(path, FILE_BYTES_MAX)?;
    // The parser's message would show the line, and with it a secret.
    let Ok(kept) = toml::from_str(&text) else {
        bail!("{} is no file of logins; remove it and log in again", EscapedPath(path));
    };
    Ok(kept)
}

/// Changes what is kept: what other processes change at the same time is not lost.
fn change(path: &Path, change: impl FnOnce(&mut KeptLogins)) -> anyhow::Result<()> {
    let file = PrivateFile::lock(path)?;
    let mut kept = load(path)?;
    change(&mut kept);
    Ok(file.replace(toml::to_string(&kept)?.as_bytes())?)
}
