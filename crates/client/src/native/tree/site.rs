//! Where a run has its place: with a tree that is built, or only with what is here.

use std::sync::Arc;

use towline_store::staged::Base;
use towline_store::tree::{FolderChain, Missing, StagedTree, TargetTree};

/// Where a run has its place.
#[derive(Clone, Debug)]
pub(super) enum Site {
    /// What is here is looked at, and nothing is made.
    Looked(Arc<TargetTree>),
    /// A tree is built.
    Built(Arc<StagedTree>),
}

impl Site {
    /// What is built; nothing in a dry run.
    pub(super) fn tree(&self) -> Option<&Arc<StagedTree>> {
        match self {
            Self::Looked(_) => None,
            Self::Built(tree) => Some(tree),
        }
    }

    /// The folder below which a file goes that comes by pieces; none where nothing is made for it.
    pub(super) fn base(&self) -> Option<Base> {
        match self {
            Self::Looked(target) => target.base(),
            Self::Built(tree) => Some(tree.base()),
        }
    }

    /// The way down in what is here; none where the tree is new.
    pub(super) fn here(&self) -> Option<FolderChain> {
        match self {
            Self::Looked(target) => target.chain(Missing::Fail),
            Self::Built(tree) => tree.target().chain(Missing::Fail),
        }
    }
}
