//! Rules and users for a test's server.

use std::collections::HashMap;
use std::sync::Arc;

use towline_proto::native::message::{Proof, Secret};
use towline_server::auth::credentials::{Credentials, PasswordEntry, TokenEntry};
use towline_server::auth::token::{Fingerprint, Token};
use towline_server::auth::{Access, User, password};
use towline_server::policy::{Action, Actions, Area, Effect, Policy, Rule};

pub(super) fn rule(path: &str, who: &[&str], effect: Effect, actions: &[Action]) -> Rule {
    Rule {
        area: Area::parse(path).unwrap(),
        who: who.iter().map(|who| who.parse().unwrap()).collect(),
        effect,
        actions: Actions::of(actions),
    }
}

pub(super) fn allow(path: &str, who: &[&str], actions: &[Action]) -> Rule {
    rule(path, who, Effect::Allow, actions)
}

/// Ann, who is in the lab, has a password and a token; bob has nothing.
pub(super) struct People {
    pub(super) token: Token,
    pub(super) credentials: Credentials,
}

pub(super) const PASSWORD: &str = "correct horse";

impl People {
    pub(super) fn new() -> Self {
        let token = Token::random().unwrap();
        let entry = TokenEntry {
            id: "one".into(),
            user: "ann".into(),
            hash: Fingerprint::of(token.reveal()).to_hex(),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires: None,
            paths: Vec::new(),
            allow: Vec::new(),
        };
        let password =
            PasswordEntry { user: "ann".into(), hash: password::hash(PASSWORD).unwrap() };
        let credentials = Credentials { password: vec![password], token: vec![entry] };
        Self { token, credentials }
    }

    /// These rules for these people.
    pub(super) fn access(&self, rules: Vec<Rule>) -> Arc<Access> {
        let user = |groups: &[&str]| User {
            groups: groups.iter().map(|group| (*group).into()).collect(),
            certificates: Vec::new(),
        };
        let users = HashMap::from([("ann".into(), user(&["lab"])), ("bob".into(), user(&[]))]);
        let (access, ignored) = Access::new(Policy::new(rules), users, self.credentials.clone());
        assert_eq!(ignored, [""; 0]);
        Arc::new(access)
    }

    pub(super) fn token(&self) -> Proof {
        Proof::Token(secret(self.token.reveal()))
    }
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.into()).unwrap()
}

pub(super) fn with_password(user: &str, password: &str) -> Proof {
    Proof::password(user.into(), secret(password)).unwrap()
}
