//! Who asks.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Action, Actions, Area};

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Everybody, logged in or not.
    Anonymous,
    /// A user, by name.
    User(String),
    /// The users of a group.
    Group(String),
    /// The holder of a client certificate, by a name in it.
    Certificate(String),
}

/// A word that means nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nobody: write anonymous, user:NAME, group:NAME or cert:NAME")]
pub struct UnknownWho(String);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Certificate(name) => write!(f, "cert:{name}"),
        }
    }
}

impl FromStr for Who {
    type Err = UnknownWho;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let who = match text.split_once(':') {
            None if text == "anonymous" => Some(Self::Anonymous),
            Some(("user", name)) => named(name).map(Self::User),
            Some(("group", name)) => named(name).map(Self::Group),
            Some(("cert", name)) => named(name).map(Self::Certificate),
            _ => None,
        };
        who.ok_or_else(|| UnknownWho(text.to_owned()))
    }
}

/// Who asks: all that rules may call them, and how far what they proved reaches. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Principal {
    user: Option<Arc<str>>,
    /// What rules may call them, besides anonymous.
    names: Arc<[Who]>,
    /// Where it is less than the user's rights: where a token is good, and for what.
    scope: Option<Arc<(Vec<Area>, Actions)>>,
}

impl Principal {
    /// Somebody who proved nothing.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// A user with the groups they are in.
    pub fn user(name: &str, groups: &[String]) -> Self {
        let mut names = vec![Who::User(name.to_owned())];
        names.extend(groups.iter().cloned().map(Who::Group));
        Self { user: Some(name.into()), names: names.into(), scope: None }
    }

    /// The same, who also has a certificate with these names.
    pub fn with_certificate(self, certificate: &[String]) -> Self {
        let certificate = certificate.iter().cloned().map(Who::Certificate);
        let names = self.names.iter().cloned().chain(certificate).collect();
        Self { names, ..self }
    }

    /// The same, good only in these areas and for these actions.
    pub fn within(self, areas: Vec<Area>, actions: Actions) -> Self {
        Self { scope: Some(Arc::new((areas, actions))), ..self }
    }

    /// What bytes are counted for: the user, or the certificate; `None` for nobody in particular.
    pub(crate) fn account(&self) -> Option<Arc<str>> {
        let certificate = || self.certificate().map(|name| format!("cert:{name}").into());
        self.user.clone().or_else(certificate)
    }

    fn certificate(&self) -> Option<&str> {
        self.names.iter().find_map(|who| match who {
            Who::Certificate(name) => Some(name.as_str()),
            _ => None,
        })
    }

    pub(super) fn is(&self, who: &Who) -> bool {
        *who == Who::Anonymous || self.names.contains(who)
    }

    pub(super) fn is_in_scope(&self, action: Action, path: &[u8]) -> bool {
        self.scope.as_deref().is_none_or(|(areas, actions)| {
            actions.has(action) && areas.iter().any(|area| area.covers(path))
        })
    }

    pub(super) fn is_unbounded(&self) -> bool {
        self.scope.is_none()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, self.certificate()) {
            (Some(user), _) => f.write_str(user),
            (None, Some(name)) => write!(f, "cert:{name}"),
            (None, None) => f.write_str("anonymous"),
        }
    }
}
