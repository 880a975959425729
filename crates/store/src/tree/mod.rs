//! A tree of files on its way in: written beside its place and given its final names when it is whole, or file by
//! file where something is there already.
//!
//! Every folder is opened once, relative to the one above it and through no link; every name is created, looked at
//! and renamed relative to its open folder.

mod attributes;
mod chain;
mod journal;
mod placing;
mod staged;
mod target;
#[cfg(test)]
mod tests;
mod writer;

pub use self::attributes::{Attributes, Mode, modified_ns};
pub use self::chain::{FolderChain, Missing};
pub use self::journal::{Journal, Noted};
pub use self::staged::StagedTree;
pub use self::target::{Here, Inode, TargetTree};
pub use self::writer::{PutError, TreeWriter};
