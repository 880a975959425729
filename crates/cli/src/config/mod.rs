//! How a server is configured: built-in values, the configuration file over them, flags and variables over that.

mod file;
mod values;

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use etcetera::BaseStrategy;
use towline_net::tls::server::Acceptor;
use towline_proto::escape::EscapedPath;
use towline_proto::name::RemoteName;
use towline_server::auth::credentials::Credentials;
use towline_server::auth::{Access, User};
use towline_server::config::{Config, Faces, Limits, Served, Share};
use towline_server::policy::{Policy, Rule, Who};
use towline_server::rates::Caps;
use towline_server::records::RecordsConfig;
use towline_store::beneath::Links;

pub(crate) use self::file::{File, Tls};
pub(crate) use self::values::{Congested, MetricsPlace, Size, Time};

/// Every key with its meaning, and what it is where it is not set.
pub(crate) const EXAMPLE: &str = include_str!("../../../../packaging/towline.toml");

/// The file's name, wherever it is.
const FILE_NAME: &str = "towline.toml";

/// The state folder of a server that becomes another user, to whom root's home is closed.
const SYSTEM_STATE_DIR: &str = "/var/lib/towline";

/// The credentials' file, in the state folder.
const CREDENTIALS: &str = "credentials.toml";

/// Where the file is looked for, unless it is named.
fn places() -> Vec<PathBuf> {
    let own = etcetera::choose_base_strategy().ok().map(|home| home.config_dir().join("towline"));
    own.into_iter().chain(["/etc/towline".into()]).map(|folder| folder.join(FILE_NAME)).collect()
}

/// The file to be read: the one that is named, or the first that is there. Whether one is there must be known: without
/// its rules everybody could read everything.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(named) = named {
        return Ok(Some(named.to_owned()));
    }
    for place in places() {
        match std::fs::symlink_metadata(&place) {
            Ok(_) => return Ok(Some(place)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                let place = EscapedPath(&place);
                return Err(anyhow!(
                    "cannot tell whether there is a configuration {place}: {error}; name one with --config"
                ));
            }
        }
    }
    Ok(None)
}

/// What the file says, or the built-in values where there is none.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<File> {
    let Some(path) = path else { return Ok(File::default()) };
    let text = std::fs::read_to_string(path);
    let text =
        text.with_context(|| format!("cannot read the configuration {}", EscapedPath(path)))?;
    let mut file = File::parse(&text).map_err(|error| anyhow!("{}: {error}", EscapedPath(path)))?;
    let origin = std::path::absolute(path)?;
    file.resolve_paths(&origin.parent().map(Path::to_owned).unwrap_or_default());
    file.origin = Some(origin);
    Ok(file)
}

impl File {
    /// The server that this describes, and what of it counts for nothing; `dir` is served where there are no shares.
    pub(crate) fn config(
        &self,
        dir: Option<&Path>,
        tls: Arc<Acceptor>,
    ) -> anyhow::Result<(Config, Vec<String>)> {
        let served = self.served(dir)?;
        self.check_own_files(&served)?;
        let (access, ignored) = self.access()?;
        let config = Config {
            served,
            links: if self.follow_symlinks { Links::FollowInside } else { Links::Refuse },
            access: Arc::new(access),
            faces: self.faces(),
            state_dir: self.state_dir(),
            records: RecordsConfig {
                access: self.log.access.clone(),
                audit: self.log.audit.clone(),
                format: self.log.format,
            },
            limits: Limits {
                connections: self.limits.connections.get(),
                connections_per_source: self.limits.connections_per_source.get(),
                handshakes: self.limits.handshakes.get(),
                requests_per_s_per_source: self.limits.requests_per_s_per_source.get(),
            },
            caps: self.caps(),
            grace: self.grace.0,
            chunk_bytes: self.buffer_size.0,
            congestion: self.congestion.0.clone(),
            ..Config::new(PathBuf::new(), tls)
        };
        Ok((config, ignored))
    }

    /// Keys whose values are others than in `before`, and that hold from a server's start to its end.
    pub(crate) fn changed_for_the_next_start(&self, before: &Self) -> Vec<&'static str> {
        let changed = [
            ("listen", self.listen != before.listen),
            ("run_as", self.run_as != before.run_as),
            ("confine", self.confine != before.confine),
            ("state_dir", self.state_dir != before.state_dir),
            ("log_dir", self.log_dir != before.log_dir),
            ("log", self.log != before.log),
            ("metrics", self.metrics != before.metrics),
            ("grace", self.grace != before.grace),
            ("buffer_size", self.buffer_size != before.buffer_size),
            ("congestion", self.congestion != before.congestion),
        ];
        changed.into_iter().filter_map(|(key, has)| has.then_some(key)).collect()
    }

    /// Keeps `run_as` and `state_dir` as in `before`: they cannot change while the server runs.
    pub(crate) fn stay_where(&mut self, before: &Self) {
        self.run_as.clone_from(&before.run_as);
        self.state_dir.clone_from(&before.state_dir);
    }

    fn served(&self, dir: Option<&Path>) -> anyhow::Result<Served> {
        let Some(dir) = dir else {
            ensure!(
                !self.share.is_empty(),
                "nothing is served: no [[share]] is configured; uncomment or add one (see `towline config example`)"
            );
            let mut names = BTreeSet::new();
            let share = |share: &file::Share| {
                let name = RemoteName::parse(share.name.as_bytes())
                    .ok()
                    .filter(|name| name.components().count() == 1)
                    .with_context(|| format!("{:?} cannot be a share's name", share.name))?;
                ensure!(names.insert(name.clone()), "two shares are called {name}");
                Ok(Share { name, path: share.path.clone() })
            };
            return Ok(Served::Shares(self.share.iter().map(share).collect::<Result<_, _>>()?));
        };
        ensure!(
            self.share.is_empty(),
            "{} and the shares of the configuration cannot both be served: leave one out",
            EscapedPath(dir)
        );
        Ok(Served::Folder(dir.to_owned()))
    }

    /// Fails where what is the server's own lies in a served folder.
    fn check_own_files(&self, served: &Served) -> anyhow::Result<()> {
        let folders: Vec<&Path> = match served {
            Served::Folder(folder) => vec![folder],
            Served::Shares(shares) => shares.iter().map(|share| share.path.as_path()).collect(),
        };
        let (state_dir, credentials) = (self.state_dir(), self.credentials_file());
        let secrets = [state_dir.as_ref(), credentials.as_ref(), self.tls.key.as_ref()];
        let logs = [self.log_dir.as_ref(), self.log.access.as_ref(), self.log.audit.as_ref()];
        for own in secrets.into_iter().chain(logs).chain([self.origin.as_ref()]).flatten() {
            let place = resolved(own);
            if let Some(folder) = folders.iter().find(|folder| place.starts_with(resolved(folder)))
            {
                bail!(
                    "{} is the server's own, and would be served with {}: choose another place for it, or serve another folder",
                    EscapedPath(own),
                    EscapedPath(folder)
                );
            }
        }
        Ok(())
    }

    /// Who may do what, and what of it counts for nothing.
    pub(crate) fn access(&self) -> anyhow::Result<(Access, Vec<String>)> {
        let policy = if self.is_open() { Policy::open() } else { Policy::new(self.rules()) };
        let (mut users, mut certified) = (HashMap::new(), BTreeSet::new());
        for file::User { name, groups, certificates, .. } in &self.user {
            for certificate in certificates {
                ensure!(
                    certified.insert(certificate),
                    "two users have the certificate {certificate:?}"
                );
            }
            let user = User { groups: groups.clone(), certificates: certificates.clone() };
            ensure!(users.insert(name.clone(), user).is_none(), "two users are called {name:?}");
        }
        let credentials = match self.credentials_file() {
            Some(path) if !users.is_empty() => Credentials::load(&path)?,
            _ => Credentials::default(),
        };
        let (access, mut ignored) = Access::new(policy, users, credentials);
        if !self.user.is_empty() && self.rule.is_empty() {
            ignored.push("every user: no rule allows anybody anything".into());
        }
        ignored.extend(self.unknown_people());
        for rule in self.rules_about_no_share() {
            let path = rule.path();
            // Whoever wrote it takes something for denied that is not.
            ensure!(
                !rule.denies(),
                "a rule denies something at {path}, and no share has that name: correct it, or take it out"
            );
            ignored.push(format!("a rule about {path}: no share has that name"));
        }
        Ok((access, ignored))
    }

    /// Whether everybody may read everything, because nothing says otherwise.
    pub(crate) fn is_open(&self) -> bool {
        self.rule.is_empty() && self.user.is_empty()
    }

    fn rules(&self) -> Vec<Rule> {
        self.rule.iter().cloned().map(Rule::from).collect()
    }

    /// Users and groups that rules name, and that nobody is or is in.
    fn unknown_people(&self) -> Vec<String> {
        let is_unknown = |who: &Who| match who {
            Who::User(name) => !self.user.iter().any(|user| user.name == *name),
            Who::Group(name) => !self.user.iter().any(|user| user.groups.contains(name)),
            Who::Anonymous | Who::Certificate(_) => false,
        };
        let named = self.rules().into_iter().flat_map(|rule| rule.who);
        let unknown: BTreeSet<_> = named.filter(is_unknown).map(|who| who.to_string()).collect();
        unknown
            .into_iter()
            .map(|who| format!("{who}, whom a rule names and who is nobody"))
            .collect()
    }

    /// Rules about paths that begin with no share's name, where there are shares.
    fn rules_about_no_share(&self) -> impl Iterator<Item = &file::Rule> {
        let is_known = |first: &str| {
            first.contains(['*', '?', '[', '{', '\\'])
                || first.is_empty()
                || self.share.iter().any(|share| share.name == first)
        };
        let first = |path: &str| path.trim_start_matches('/').split('/').next().map(str::to_owned);
        let is_lost = move |rule: &&file::Rule| first(rule.path()).is_some_and(|it| !is_known(&it));
        self.rule.iter().filter(move |rule| !self.share.is_empty() && is_lost(rule))
    }

    fn caps(&self) -> Caps {
        let of_user = |user: &file::User| Some((user.name.clone(), user.rate_bytes_per_s.0?));
        let of_share = |share: &file::Share| {
            Some((share.name.clone().into_bytes(), share.rate_bytes_per_s.0?))
        };
        Caps {
            total: self.limits.rate_bytes_per_s.0,
            each: self.limits.rate_bytes_per_s_per_user.0,
            per_user: self.user.iter().filter_map(of_user).collect(),
            per_share: self.share.iter().filter_map(of_share).collect(),
        }
    }

    fn faces(&self) -> Faces {
        if self.require_tls {
            return Faces::ENCRYPTED;
        }
        Faces { classic: self.classic, native_plain: self.native_plain }
    }

    /// Where the server remembers things; `None` for who has no home.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        let of_system = self.run_as.as_ref().map(|_| SYSTEM_STATE_DIR.into());
        self.state_dir.clone().or(of_system).or_else(default_state_dir)
    }

    /// Where passwords' and tokens' hashes are.
    pub(crate) fn credentials_file(&self) -> Option<PathBuf> {
        let own = || self.state_dir().map(|folder| folder.join(CREDENTIALS));
        self.credentials.file.clone().or_else(own)
    }
}

/// A path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut missing = Vec::new();
    let mut above = absolute.as_path();
    loop {
        if let Ok(found) = above.canonicalize() {
            return missing.into_iter().rev().fold(found, |path, name| path.join(name));
        }
        let (Some(parent), Some(name)) = (above.parent(), above.file_name()) else {
            return absolute;
        };
        missing.push(name);
        above = parent;
    }
}

/// Where commands keep what they must remember; `None` for who has no home.
pub(crate) fn default_state_dir() -> Option<PathBuf> {
    let home = etcetera::choose_base_strategy().ok()?;
    Some(home.state_dir().unwrap_or_else(|| home.data_dir()).join("towline"))
}
