//! Reading many small files, within one share or out of several.

use std::sync::Arc;

use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::SmallFile;
use towline_store::local::OpenError;
use towline_store::small_files::{SmallFileError, SmallFiles};

use super::{Location, Shares, split_first};

/// Small files below one folder.
#[derive(Debug)]
pub(crate) enum Files {
    Inside(SmallFiles),
    /// The folder is what is above all shares; the one that was read from last stays open.
    Over {
        shares: Arc<Shares>,
        last: Option<(RemoteName, SmallFiles)>,
    },
}

impl Files {
    pub(crate) fn open(
        shares: &Arc<Shares>,
        folder: Option<&RemoteName>,
    ) -> Result<Self, OpenError> {
        Ok(match shares.locate(folder)? {
            Location::Inside { root, rest, .. } => Self::Inside(SmallFiles::open(root, rest)?),
            Location::Top => Self::Over { shares: Arc::clone(shares), last: None },
        })
    }

    /// See [`SmallFiles::stand_still`].
    pub(crate) fn stand_still(&mut self) {
        match self {
            Self::Inside(files) | Self::Over { last: Some((_, files)), .. } => files.stand_still(),
            Self::Over { last: None, .. } => {}
        }
    }

    /// Reads a file, as [`SmallFiles::read`] has it.
    pub(crate) fn read(
        &mut self,
        path: &RemoteName,
        content: &mut Vec<u8>,
    ) -> Result<SmallFile, SmallFileError> {
        match self {
            Self::Inside(files) => files.read(path, content),
            Self::Over { shares, last } => {
                let (share, Some(rest)) = split_first(path) else {
                    return Err(OpenError::IsFolder.into());
                };
                if last.as_ref().is_none_or(|(name, _)| *name != share) {
                    let Location::Inside { root, .. } = shares.locate(Some(&share))? else {
                        return Err(OpenError::NotFound.into());
                    };
                    *last = Some((share, SmallFiles::open(root, None)?));
                }
                match last {
                    Some((_, files)) => files.read(&rest, content),
                    None => Err(OpenError::NotFound.into()),
                }
            }
        }
    }
}
