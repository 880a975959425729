//! The one normaliser of remote names: parsed once, valid ever after.

use std::cmp::Ordering;
use std::fmt;

use crate::escape::Escaped;
use crate::limits::{COMPONENT_BYTES_MAX, NAME_BYTES_MAX, NAME_DEPTH_MAX};

/// How a file begins and ends its name while it is being received. Such names exist for no one else.
const PART_PREFIX: u8 = b'.';
const PART_SUFFIX: &[u8] = b".towline-part";

/// The name of a file below a served folder: one or more components joined by `/`.
///
/// Names are bytes, since Linux names need not be UTF-8. A value of this type has no empty, `.` or `..`
/// component, no NUL, no leading or trailing `/`, is within the caps of [`crate::limits`], and does not name
/// an unfinished transfer. Joining its components below a folder therefore never leads out of that folder
/// by its text; links are the store's concern.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteName(Box<[u8]>);

/// Why some bytes are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No bytes at all.
    #[error("the name is empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("the name has {0} bytes, more than {NAME_BYTES_MAX}")]
    TooLong(usize),
    /// Starts with `/`.
    #[error("the name is absolute; names are relative to the served folder")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("the name has an empty component")]
    EmptyComponent,
    /// A `.` or `..` component.
    #[error("the name has a `.` or `..` component")]
    DotComponent,
    /// A zero byte.
    #[error("the name has a NUL byte")]
    Nul,
    /// A component of more than [`COMPONENT_BYTES_MAX`] bytes.
    #[error("a component of the name has {0} bytes, more than {COMPONENT_BYTES_MAX}")]
    ComponentTooLong(usize),
    /// More than [`NAME_DEPTH_MAX`] components.
    #[error("the name has more than {NAME_DEPTH_MAX} components")]
    TooDeep,
    /// `.NAME.towline-part`, which holds a transfer in progress.
    #[error("the name is reserved for unfinished transfers")]
    Reserved,
}

impl RemoteName {
    /// Parses a name as it came from a wire or a command line.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(bytes.len()));
        }
        if bytes.first() == Some(&b'/') {
            return Err(NameError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(NameError::Nul);
        }
        for (index, component) in bytes.split(|&byte| byte == b'/').enumerate() {
            if index == NAME_DEPTH_MAX {
                return Err(NameError::TooDeep);
            }
            check_component(component)?;
        }
        Ok(Self(bytes.into()))
    }

    /// The whole name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole name where it is UTF-8, as the classic protocol needs it.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The components from the top down; at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// The components of the folder that holds the file, and the last component: the file's own name.
    pub fn split_last(&self) -> (impl Iterator<Item = &[u8]>, &[u8]) {
        let mut folders = self.components();
        let last = folders.next_back().unwrap_or_default();
        (folders, last)
    }

    /// The name of what has the name `self` below `folder`; `None` is the served folder itself.
    pub fn below(&self, folder: Option<&Self>) -> Result<Self, NameError> {
        match folder {
            None => Ok(self.clone()),
            Some(folder) => Self::parse(&[&folder.0, &b"/"[..], &self.0].concat()),
        }
    }

    /// The name of the folder that holds it; `None` for the served folder itself.
    pub fn parent_bytes(&self) -> Option<&[u8]> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        self.0.get(..slash)
    }

    /// The order of listings: by components, so that what is in a folder follows the folder at once.
    pub fn cmp_in_tree(&self, other: &Self) -> Ordering {
        self.components().cmp(other.components())
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        self.split_last().1
    }
}

/// Shows the name escaped, safe for terminals and logs.
impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteName({self})")
    }
}

fn check_component(component: &[u8]) -> Result<(), NameError> {
    match component {
        b"" => Err(NameError::EmptyComponent),
        b"." | b".." => Err(NameError::DotComponent),
        _ if component.len() > COMPONENT_BYTES_MAX => {
            Err(NameError::ComponentTooLong(component.len()))
        }
        _ if component.first() == Some(&PART_PREFIX) && component.ends_with(PART_SUFFIX) => {
            Err(NameError::Reserved)
        }
        _ => Ok(()),
    }
}

/// The name under which the file called `file_name` is received, in the same folder: `.NAME.towline-part`.
///
/// A name too long for that is shortened to its leading bytes and told apart by `discriminator`, hex
/// digits of a hash of the whole name.
pub fn part_name(file_name: &[u8], discriminator: &str) -> Vec<u8> {
    let room = COMPONENT_BYTES_MAX.saturating_sub(PART_SUFFIX.len()).saturating_sub(1);
    let mut part = vec![PART_PREFIX];
    if file_name.len() <= room {
        part.extend_from_slice(file_name);
    } else {
        let kept = room.saturating_sub(discriminator.len()).saturating_sub(1);
        part.extend(file_name.iter().take(kept));
        part.push(b'~');
        part.extend_from_slice(discriminator.as_bytes());
    }
    part.extend_from_slice(PART_SUFFIX);
    part
}

#[cfg(test)]
mod tests {
    use super::{NameError, RemoteName, part_name};

    fn error(bytes: &[u8]) -> NameError {
        RemoteName::parse(bytes).unwrap_err()
    }

    #[test]
    fn a_name_in_a_sub_folder_splits_into_its_folders_and_its_own_name() {
        let name = RemoteName::parse(b"a/b/c.txt").unwrap();
        let (folders, last) = name.split_last();
        assert_eq!(folders.collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(last, b"c.txt");
        assert_eq!(RemoteName::parse(b"plain").unwrap().file_name(), b"plain");
    }

    #[test]
    fn what_is_in_a_folder_follows_it_at_once() {
        let name = |text: &str| RemoteName::parse(text.as_bytes()).unwrap();
        let order = ["a", "a/b", "a/b/c", "a!", "a!/b", "b"].map(name);
        assert!(order.is_sorted_by(|a, b| a.cmp_in_tree(b).is_lt()));
        assert_eq!(name("c").below(Some(&name("a/b"))).unwrap(), name("a/b/c"));
        assert!(
            name(&"c/".repeat(200)[..399]).below(Some(&name(&"d/".repeat(60)[..119]))).is_err()
        );
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert_eq!(error(b""), NameError::Empty);
        assert_eq!(error(b"/etc/passwd"), NameError::Absolute);
        assert_eq!(error(b"//x"), NameError::Absolute);
        assert_eq!(error(b"../x"), NameError::DotComponent);
        assert_eq!(error(b".."), NameError::DotComponent);
        assert_eq!(error(b"a/../../x"), NameError::DotComponent);
        assert_eq!(error(b"a//b"), NameError::EmptyComponent);
        assert_eq!(error(b"a/b/"), NameError::EmptyComponent);
        assert_eq!(error(b"a/./c"), NameError::DotComponent);
        assert_eq!(error(b"a\0b"), NameError::Nul);
    }

    #[test]
    fn caps_hold_at_their_edges() {
        assert!(RemoteName::parse(&[b'x'; 255]).is_ok());
        assert_eq!(error(&[b'x'; 256]), NameError::ComponentTooLong(256));
        let deep = vec![b"d".as_slice(); 256].join(&b'/');
        assert!(RemoteName::parse(&deep).is_ok());
        assert_eq!(error(&vec![b"d".as_slice(); 257].join(&b'/')), NameError::TooDeep);
        let mut long = vec![[b'x'; 255].as_slice(); 16].join(&b'/');
        assert_eq!(long.len(), 4_095);
        assert!(RemoteName::parse(&long).is_ok());
        long.extend_from_slice(b"/y");
        assert_eq!(error(&long), NameError::TooLong(4_097));
    }

    #[test]
    fn unfinished_transfers_have_no_name_for_anyone() {
        assert_eq!(error(b".big.iso.towline-part"), NameError::Reserved);
        assert_eq!(error(b"a/.b.towline-part/c"), NameError::Reserved);
        assert!(RemoteName::parse(b"big.iso.towline-part").is_ok());
    }

    #[test]
    fn a_part_name_is_reserved_and_fits_for_every_name() {
        for length in [1, 240, 241, 242, 255] {
            let part = part_name(&vec![b'n'; length], "0123456789abcdef");
            assert!(part.len() <= 255, "{length} bytes gave {}", part.len());
            assert_eq!(error(&part), NameError::Reserved);
        }
        assert_eq!(part_name(b"a.txt", "ff"), b".a.txt.towline-part");
    }
}
