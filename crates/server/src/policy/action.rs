//! What can be done with what is served.

use std::fmt;

/// Something to be done, and to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To fetch a file's content.
    Read,
    /// To see that something is there.
    List,
    /// To put something where nothing is.
    Create,
    /// To replace what is there.
    Write,
    /// To remove what is there.
    Delete,
}

/// Some actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u8);

impl Action {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::List, Self::Create, Self::Write, Self::Delete];

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// As rules call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Create => "create",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Actions {
    /// These.
    pub fn of(actions: &[Action]) -> Self {
        Self(actions.iter().fold(0, |bits, action| bits | action.bit()))
    }

    /// Every one.
    pub fn all() -> Self {
        Self::of(&Action::ALL)
    }

    /// Whether `action` is one of them.
    pub fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }
}
