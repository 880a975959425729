//! What is served, and who may do what with it. One means nothing without the other: they change as one.

use std::sync::Arc;

use super::Access;
use crate::shares::Shares;

/// What holds at one moment. Never changed: replaced as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) shares: Arc<Shares>,
    pub(crate) access: Arc<Access>,
}

impl Terms {
    /// Whether these are the very same.
    pub(super) fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.shares, &others.shares) && Arc::ptr_eq(&self.access, &others.access)
    }
}
