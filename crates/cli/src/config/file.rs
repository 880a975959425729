//! The configuration file's keys. Each field is a key; what is not set is as in the default.

use std::net::{Ipv6Addr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use towline_net::socket::Congestion;
use towline_server::config::Limits as ServerLimits;
use towline_server::policy::{Action, Actions, Area, Effect, Rule as PolicyRule, Who};
use towline_server::records::Format;

use super::values::{self, Congested, MetricsPlace, Rate, Size, Time};
use crate::url::DEFAULT_PORT;

/// All keys of `towline.toml`.
#[expect(clippy::struct_excessive_bools, reason = "each is a key, and stands alone")]
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) listen: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_as: Option<String>,
    pub(crate) confine: bool,
    pub(crate) grace: Time,
    pub(crate) require_tls: bool,
    pub(crate) classic: bool,
    pub(crate) native_plain: bool,
    pub(crate) follow_symlinks: bool,
    pub(crate) buffer_size: Size,
    pub(crate) congestion: Congested,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<MetricsPlace>,
    pub(crate) tls: Tls,
    pub(crate) credentials: CredentialsPlace,
    pub(crate) log: Log,
    pub(crate) limits: Limits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) share: Vec<Share>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) user: Vec<User>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rule: Vec<Rule>,
    /// Where it was read from, if it was.
    #[serde(skip)]
    pub(crate) origin: Option<PathBuf>,
}

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_ca: Option<PathBuf>,
}

/// `[credentials]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CredentialsPlace {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<PathBuf>,
    pub(crate) format: Format,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) connections: NonZeroUsize,
    pub(crate) connections_per_source: NonZeroUsize,
    pub(crate) handshakes: NonZeroUsize,
    pub(crate) requests_per_s_per_source: NonZeroU64,
    pub(crate) rate_bytes_per_s: Rate,
    pub(crate) rate_bytes_per_s_per_user: Rate,
}

/// `[[share]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    #[serde(default)]
    pub(crate) rate_bytes_per_s: Rate,
}

/// `[[user]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<String>,
    #[serde(default)]
    pub(crate) rate_bytes_per_s: Rate,
}

/// `[[rule]]`, as it is written: it allows or denies.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    path: String,
    #[serde(with = "values::text")]
    who: Vec<Who>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<Action>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deny: Option<Vec<Action>>,
}

/// `[[rule]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "RawRule", into = "RawRule")]
pub(crate) struct Rule {
    raw: RawRule,
    rule: PolicyRule,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let written = |rule: &Self| {
            let RawRule { path, who, allow, deny } = rule.raw.clone();
            (path, who, allow, deny)
        };
        written(self) == written(other)
    }
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let (effect, actions) = match (&raw.allow, &raw.deny) {
            (Some(actions), None) => (Effect::Allow, actions),
            (None, Some(actions)) => (Effect::Deny, actions),
            _ => return Err("a rule has either `allow` or `deny`".into()),
        };
        if raw.who.is_empty() || actions.is_empty() {
            return Err("a rule is about somebody and about some action".into());
        }
        let area = Area::parse(&raw.path).map_err(|error| error.to_string())?;
        let (who, actions) = (raw.who.clone(), Actions::of(actions));
        Ok(Self { raw, rule: PolicyRule { area, who, effect, actions } })
    }
}

impl Rule {
    /// Its path, as it is written.
    pub(super) fn path(&self) -> &str {
        &self.raw.path
    }

    /// Whether it takes something away.
    pub(super) fn denies(&self) -> bool {
        self.rule.effect == Effect::Deny
    }
}

impl From<Rule> for RawRule {
    fn from(rule: Rule) -> Self {
        rule.raw
    }
}

impl From<Rule> for PolicyRule {
    fn from(rule: Rule) -> Self {
        rule.rule
    }
}

/// What is wrong with a file, and where: on one line, for logs.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub(crate) struct ParseError {
    line: usize,
    column: usize,
    reason: String,
}

impl ParseError {
    fn new(error: &toml::de::Error, text: &str) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            reason: error.message().lines().collect::<Vec<_>>().join("; "),
        }
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT))],
            state_dir: None,
            log_dir: None,
            run_as: None,
            confine: true,
            grace: Time(Duration::from_secs(30)),
            require_tls: false,
            classic: true,
            native_plain: true,
            follow_symlinks: false,
            buffer_size: Size(1 << 20),
            congestion: Congested(Congestion::Auto),
            metrics: None,
            tls: Tls::default(),
            credentials: CredentialsPlace::default(),
            log: Log::default(),
            limits: Limits::default(),
            share: Vec::new(),
            user: Vec::new(),
            rule: Vec::new(),
            origin: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let ServerLimits {
            connections,
            connections_per_source,
            handshakes,
            requests_per_s_per_source: requests,
        } = ServerLimits::default();
        let some = |limit| NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN);
        Self {
            connections: some(connections),
            connections_per_source: some(connections_per_source),
            handshakes: some(handshakes),
            requests_per_s_per_source: NonZeroU64::new(requests).unwrap_or(NonZeroU64::MIN),
            rate_bytes_per_s: Rate(None),
            rate_bytes_per_s_per_user: Rate(None),
        }
    }
}

impl File {
    /// Reads it.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        toml::from_str(text).map_err(|error| ParseError::new(&error, text))
    }

    /// The whole configuration as a file would have it.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Makes paths that are told from the file's folder on complete.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let optional = [
            &mut self.state_dir,
            &mut self.log_dir,
            &mut self.tls.cert,
            &mut self.tls.key,
            &mut self.tls.client_ca,
            &mut self.credentials.file,
            &mut self.log.access,
            &mut self.log.audit,
        ];
        let paths = optional.into_iter().flatten();
        for path in paths.chain(self.share.iter_mut().map(|share| &mut share.path)) {
            *path = folder.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    #[test]
    fn the_example_says_what_is_built_in_and_every_key_is_in_it() {
        let file = File::parse(EXAMPLE).unwrap();
        assert_eq!(file, File::default());
        // With its comment signs taken off, every key is set.
        let set: String = EXAMPLE
            .lines()
            .map(|line| {
                line.strip_prefix("#").filter(|line| !line.starts_with(' ')).unwrap_or(line)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let all = File::parse(&set).unwrap();
        let keys = |file: &File| {
            let table: toml::Table = toml::from_str(&file.to_toml().unwrap()).unwrap();
            table.keys().cloned().collect::<Vec<_>>()
        };
        for key in ["state_dir", "log_dir", "metrics", "run_as", "share", "user", "rule"] {
            assert!(keys(&all).contains(&key.to_owned()), "{key}");
        }
        let text = all.to_toml().unwrap();
        assert_eq!(File::parse(&text).unwrap(), all, "{text}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_column() {
        for (text, place, reason) in [
            ("listen = 5\n", "line 1, column 10", "sequence"),
            ("grace = \"1s\"\nspeed = 1\n", "line 2, column 1", "unknown field `speed`"),
            ("[limits]\nconnections = 0\n", "line 2, column 15", "nonzero"),
            ("[[rule]]\npath = \"/\"\nwho = [\"ann\"]\nallow = []\n", "line 3", "nobody"),
            ("[[rule]]\npath = \"a\"\nwho = [\"user:a\"]\nallow = [\"read\"]\n", "line 1", "slash"),
            ("[[rule]]\npath = \"/\"\nwho = [\"user:a\"]\n", "line 1", "either"),
            ("[[rule]]\npath = \"/\"\nwho = [\"user:a\"]\nallow = [\"run\"]\n", "line 4", "run"),
        ] {
            let error = File::parse(text).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(reason), "{text}: {error}");
        }
    }
}
