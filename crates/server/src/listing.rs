//! A listing: a walk within one share, or over all of them, of what somebody may see.

use std::cmp::Ordering;
use std::sync::Arc;
use std::vec::IntoIter;

use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Depth, List};
use towline_store::filter::Filter;
use towline_store::local::{LocalRoot, OpenError};
use towline_store::walk::{Found, Held, Step, Walk, WalkError};

use crate::auth::Caller;
use crate::shares::{Location, Shares, split_first};

/// Finds entry after entry.
#[derive(Debug)]
pub(crate) enum Listing {
    Inside(Box<Walk>),
    Over(Box<OverShares>),
}

/// A walk over what is above all shares.
#[derive(Debug)]
pub(crate) struct OverShares {
    left: IntoIter<(RemoteName, Arc<LocalRoot>)>,
    depth: Depth,
    after: Option<RemoteName>,
    filter: Filter,
    caller: Caller,
    /// The share that is being walked.
    inside: Option<(RemoteName, Walk)>,
}

impl Listing {
    /// Begins to list for `caller`, who is allowed to ask.
    pub(crate) fn start(list: &List, filter: Filter, caller: Caller) -> Result<Self, OpenError> {
        match caller.shares().locate(list.folder.as_ref())? {
            Location::Inside { root, share, rest } => {
                let walk =
                    Walk::start(root, rest.as_ref(), list.after.clone(), list.depth, filter)?;
                Ok(Self::Inside(Box::new(seen_by(caller, share, walk))))
            }
            Location::Top => {
                let Shares::Named(named) = &**caller.shares() else {
                    return Err(OpenError::NotFound);
                };
                let left: Vec<_> =
                    named.iter().map(|(name, root)| (name.clone(), Arc::clone(root))).collect();
                Ok(Self::Over(Box::new(OverShares {
                    left: left.into_iter(),
                    depth: list.depth,
                    after: list.after.clone(),
                    filter,
                    caller,
                    inside: None,
                })))
            }
        }
    }

    /// What it holds now, but for its rules.
    pub(crate) fn held(&self) -> Held {
        match self {
            Self::Inside(walk) => walk.held(),
            Self::Over(over) => {
                over.inside.as_ref().map_or_else(Held::default, |(_, walk)| walk.held())
            }
        }
    }

    /// A step of the walk, as [`Walk::step`] has it.
    pub(crate) fn step(&mut self, is_wanted: &dyn Fn() -> bool) -> Result<Step, WalkError> {
        match self {
            Self::Inside(walk) => walk.step(is_wanted),
            Self::Over(over) => over.step(is_wanted),
        }
    }
}

impl OverShares {
    fn step(&mut self, is_wanted: &dyn Fn() -> bool) -> Result<Step, WalkError> {
        let Some((share, walk)) = &mut self.inside else {
            let Some((share, root)) = self.left.next() else { return Ok(Step::End) };
            return Ok(self.enter(share, root).map_or(Step::Nothing, Step::Found));
        };
        match walk.step(is_wanted)? {
            Step::Found(found) => Ok(match found.path.below(Some(share)) {
                Ok(path) => Step::Found(Found { path, ..found }),
                // Nobody could ask for it.
                Err(_) => Step::Nothing,
            }),
            Step::Nothing => Ok(Step::Nothing),
            Step::End => {
                self.inside = None;
                Ok(Step::Nothing)
            }
        }
    }

    /// Goes on with a share, which itself is found unless that was told before.
    fn enter(&mut self, share: RemoteName, root: Arc<LocalRoot>) -> Option<Found> {
        let is_admitted = self.filter.admits_folder(share.as_bytes());
        if !is_admitted || !self.caller.sees(share.as_bytes()) {
            return None;
        }
        let (mut after, mut is_passed) = (None, false);
        if let Some(passed) = &self.after {
            let (first, rest) = split_first(passed);
            match share.cmp(&first) {
                Ordering::Less => return None,
                Ordering::Equal => (after, is_passed) = (rest, true),
                Ordering::Greater => {}
            }
        }
        let mut found = Found::folder(&root, share.clone());
        if self.depth == Depth::Tree {
            let filter = self.filter.inside(&share);
            match Walk::start(root, None, after, Depth::Tree, filter) {
                Ok(walk) => {
                    let walk = seen_by(self.caller.clone(), Some(share.clone()), walk);
                    self.inside = Some((share, walk));
                }
                Err(error) => found.error = Some(error),
            }
        }
        (!is_passed).then_some(found)
    }
}

/// The same walk, of what the caller may see.
fn seen_by(caller: Caller, share: Option<RemoteName>, walk: Walk) -> Walk {
    if caller.sees_everything() {
        return walk;
    }
    let above = share.map_or_else(Vec::new, |share| [share.as_bytes(), b"/"].concat());
    walk.showing(Arc::new(move |path| caller.sees(&[&above[..], path].concat())))
}
