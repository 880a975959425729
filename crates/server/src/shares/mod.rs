//! What is served: one folder under no name, or several, each under a name of its own that begins every path in it.

mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use towline_proto::name::RemoteName;
use towline_store::beneath::Links;
use towline_store::local::{LocalRoot, OpenError};

pub(crate) use self::files::Files;
use crate::config::Served;

/// The served folders, each open.
#[derive(Debug)]
pub(crate) enum Shares {
    /// One, whose names are paths.
    Bare(Arc<LocalRoot>),
    /// Several. The first component of a path is a share's name.
    Named(BTreeMap<RemoteName, Arc<LocalRoot>>),
}

/// A folder that cannot be opened.
#[derive(Debug)]
pub(crate) struct ShareError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Where a path leads.
pub(crate) enum Location {
    /// To what is above all shares.
    Top,
    /// Into a share: the rest of the path, or the share's folder itself.
    Inside { root: Arc<LocalRoot>, share: Option<RemoteName>, rest: Option<RemoteName> },
}

impl Shares {
    pub(crate) fn open(served: &Served, links: Links) -> Result<Self, ShareError> {
        let open = |path: &PathBuf| {
            let opened = LocalRoot::open(path, links);
            opened.map(Arc::new).map_err(|source| ShareError { path: path.clone(), source })
        };
        Ok(match served {
            Served::Folder(path) => Self::Bare(open(path)?),
            Served::Shares(shares) => {
                let opened =
                    shares.iter().map(|share| Ok((share.name.clone(), open(&share.path)?)));
                Self::Named(opened.collect::<Result<_, ShareError>>()?)
            }
        })
    }

    /// The name of the share that a path leads into, where shares have names.
    pub(crate) fn share_of(&self, name: &RemoteName) -> Option<RemoteName> {
        match self {
            Self::Bare(_) => None,
            Self::Named(_) => Some(split_first(name).0),
        }
    }

    /// Where a path leads; `None` is the top of all paths.
    pub(crate) fn locate(&self, name: Option<&RemoteName>) -> Result<Location, OpenError> {
        match (self, name) {
            (Self::Bare(root), _) => {
                Ok(Location::Inside { root: Arc::clone(root), share: None, rest: name.cloned() })
            }
            (Self::Named(_), None) => Ok(Location::Top),
            (Self::Named(shares), Some(name)) => {
                let (share, rest) = split_first(name);
                let (share, root) = shares.get_key_value(&share).ok_or(OpenError::NotFound)?;
                let (root, share) = (Arc::clone(root), Some(share.clone()));
                Ok(Location::Inside { root, share, rest })
            }
        }
    }

    /// The names of the shares, where they have names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &RemoteName> {
        let named = match self {
            Self::Bare(_) => None,
            Self::Named(shares) => Some(shares.keys()),
        };
        named.into_iter().flatten()
    }

    /// The folder that a file is in, and its name there.
    pub(crate) fn locate_file(
        &self,
        name: &RemoteName,
    ) -> Result<(Arc<LocalRoot>, RemoteName), OpenError> {
        match self.locate(Some(name))? {
            Location::Inside { root, rest: Some(rest), .. } => Ok((root, rest)),
            // A share itself.
            _ => Err(OpenError::IsFolder),
        }
    }
}

/// The first component of a path, and what comes after it.
pub(crate) fn split_first(name: &RemoteName) -> (RemoteName, Option<RemoteName>) {
    let bytes = name.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b'/');
    let part = |bytes| RemoteName::parse(bytes).expect("a part of a name is a name");
    match end {
        Some(end) => (part(&bytes[..end]), Some(part(&bytes[end + 1..]))),
        None => (name.clone(), None),
    }
}
