//! One rule: an area, whom it is about, and what it allows or denies there.

use super::glob::{Glob, GlobError};
use super::{Action, Actions, Principal, Who};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows, unless another denies.
    Allow,
    /// It denies, whatever others allow.
    Deny,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it holds.
    pub area: Area,
    /// Whom it is about: any of these.
    pub who: Vec<Who>,
    /// What it does.
    pub effect: Effect,
    /// With which actions.
    pub actions: Actions,
}

/// Paths that a pattern matches, and all that is below them.
#[derive(Clone, Debug)]
pub struct Area {
    /// Any of these; `None` is everything.
    globs: Option<Vec<Glob>>,
}

/// Why a pattern covers nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AreaError {
    /// It does not begin at the top.
    #[error("the path `{0}` does not begin with a slash")]
    Relative(String),
    /// A component that no path has.
    #[error(
        "the path `{0}` has an empty component, or one of dots: no path that is asked for has those"
    )]
    NeverMatches(String),
    /// A glob that cannot be read.
    #[error("the path `{pattern}` is no pattern: {reason}")]
    Glob {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Rule {
    pub(super) fn applies(&self, principal: &Principal, action: Action, path: &[u8]) -> bool {
        self.is_about(principal, action) && self.area.covers(path)
    }

    pub(super) fn is_about(&self, principal: &Principal, action: Action) -> bool {
        self.actions.has(action) && self.who.iter().any(|who| principal.is(who))
    }
}

impl Area {
    /// All paths.
    pub fn everything() -> Self {
        Self { globs: None }
    }

    /// What a pattern such as `/lab/**` or `/logs/*.gz` matches, and all that is below that: `/lab` means the same as
    /// `/lab/**`. `*` and `?` match within a component, `**` across them.
    pub fn parse(text: &str) -> Result<Self, AreaError> {
        let Some(pattern) = text.strip_prefix('/') else {
            return Err(AreaError::Relative(text.to_owned()));
        };
        if pattern.is_empty() {
            return Ok(Self::everything());
        }
        let mut pattern = pattern.strip_suffix('/').unwrap_or(pattern);
        while let Some(shorter) = pattern.strip_suffix("/**") {
            pattern = shorter;
        }
        if pattern == "**" {
            return Ok(Self::everything());
        }
        let globs = Glob::parse_all(pattern).map_err(|error| match error {
            GlobError::NeverMatches => AreaError::NeverMatches(text.to_owned()),
            broken => AreaError::Glob { pattern: text.to_owned(), reason: broken.to_string() },
        })?;
        Ok(Self { globs: Some(globs) })
    }

    pub(super) fn covers(&self, path: &[u8]) -> bool {
        let Some(globs) = &self.globs else { return true };
        // What is no text is as many characters as it would be shown as.
        let path = String::from_utf8_lossy(path);
        globs.iter().any(|glob| glob.covers(&path))
    }

    pub(super) fn is_everything(&self) -> bool {
        self.globs.is_none()
    }
}
