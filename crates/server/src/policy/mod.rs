//! Who may do what: rules over paths, evaluated the same for every face. Pure: no clock, no files, no wires.
//!
//! A path is what a client asked for, normalised by [`RemoteName`], with a slash before it. What no rule allows is
//! denied, and what one rule denies no other allows.

mod action;
mod glob;
mod principal;
mod rule;
#[cfg(test)]
mod tests;

use towline_proto::name::RemoteName;

pub use self::action::{Action, Actions};
pub use self::principal::{Principal, UnknownWho, Who};
pub use self::rule::{Area, AreaError, Effect, Rule};

/// All rules.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Exactly these rules; none allow nothing.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// What holds where nobody made rules: everybody reads and lists everything.
    pub fn open() -> Self {
        let actions = Actions::of(&[Action::Read, Action::List]);
        let everything = Rule {
            area: Area::everything(),
            who: vec![Who::Anonymous],
            effect: Effect::Allow,
            actions,
        };
        Self::new(vec![everything])
    }

    /// Whether `principal` may do this with `name`; `None` is what is above all names.
    pub fn allows(&self, principal: &Principal, action: Action, name: Option<&RemoteName>) -> bool {
        let path = name.map_or(&b""[..], RemoteName::as_bytes);
        self.allows_at(principal, action, path)
    }

    /// The same for a normalised path.
    pub(crate) fn allows_at(&self, principal: &Principal, action: Action, path: &[u8]) -> bool {
        if !principal.is_in_scope(action, path) {
            return false;
        }
        let applies = |rule: &&Rule| rule.applies(principal, action, path);
        let mut is_allowed = false;
        for rule in self.rules.iter().filter(applies) {
            match rule.effect {
                Effect::Deny => return false,
                Effect::Allow => is_allowed = true,
            }
        }
        is_allowed
    }

    /// Whether `principal` may do this wherever they like, so that no path need be looked at for it.
    pub(crate) fn allows_everywhere(&self, principal: &Principal, action: Action) -> bool {
        let has_denials = self.rules.iter().any(|rule| rule.effect == Effect::Deny);
        let covers = |rule: &Rule| rule.area.is_everything() && rule.is_about(principal, action);
        !has_denials && principal.is_unbounded() && self.rules.iter().any(covers)
    }
}
