//! Paths of one message, each told by what it shares with the one before it.

use std::iter::FusedIterator;
use std::vec;

use super::MessageError;
use crate::name::RemoteName;
use crate::native::wire;

/// Paths that are held as they are told, and made one by one: a thousand of the longest that differ in a byte each take
/// up no more than some kilobytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(Vec<wire::Path>);

/// The paths one after the other.
#[derive(Clone, Debug)]
pub struct IntoIter {
    told: vec::IntoIter<wire::Path>,
    coding: FrontCoding,
}

impl Paths {
    /// Fails unless all of them are names.
    pub(super) fn decode(told: Vec<wire::Path>) -> Result<Self, MessageError> {
        let mut coding = FrontCoding::default();
        told.iter().try_for_each(|path| coding.decode(path.shared, &path.rest).map(drop))?;
        Ok(Self(told))
    }

    pub(super) fn encode(&self) -> Vec<wire::Path> {
        self.0.clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first of them.
    pub fn first(&self) -> Option<RemoteName> {
        // It shares nothing with the one before it.
        RemoteName::parse(&self.0.first()?.rest).ok()
    }
}

impl FromIterator<RemoteName> for Paths {
    fn from_iter<I: IntoIterator<Item = RemoteName>>(paths: I) -> Self {
        let mut coding = FrontCoding::default();
        Self(paths.into_iter().map(|path| coding.encode(&path)).collect())
    }
}

impl IntoIterator for Paths {
    type Item = RemoteName;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter { told: self.0.into_iter(), coding: FrontCoding::default() }
    }
}

impl Iterator for IntoIter {
    type Item = RemoteName;

    fn next(&mut self) -> Option<RemoteName> {
        let wire::Path { shared, rest } = self.told.next()?;
        // All were found to be names.
        self.coding.decode(shared, &rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.told.size_hint()
    }
}

impl ExactSizeIterator for IntoIter {}

impl FusedIterator for IntoIter {}

/// What a path shares with the one before it.
#[derive(Clone, Debug, Default)]
pub(super) struct FrontCoding {
    last: Vec<u8>,
}

impl FrontCoding {
    pub(super) fn decode(&mut self, shared: u32, rest: &[u8]) -> Result<RemoteName, MessageError> {
        let shared = usize::try_from(shared).map_err(|_| MessageError::Paths)?;
        if shared > self.last.len() {
            return Err(MessageError::Paths);
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
        Ok(RemoteName::parse(&self.last)?)
    }

    pub(super) fn encode(&mut self, path: &RemoteName) -> wire::Path {
        let path = path.as_bytes();
        let shared = self.last.iter().zip(path).take_while(|(a, b)| a == b).count();
        self.last.truncate(shared);
        let rest = path.get(shared..).unwrap_or_default().to_vec();
        self.last.extend_from_slice(&rest);
        // A name is far shorter than 4 GiB.
        wire::Path { shared: u32::try_from(shared).unwrap_or_default(), rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_long_paths_take_up_what_they_do_not_share() {
        let mut long = vec![b'a'; 255];
        (0..15).for_each(|_| long.extend([&b"/"[..], &[b'a'; 255]].concat()));
        let names: Vec<_> = (b'a'..=b'z')
            .cycle()
            .take(1_024)
            .map(|last| RemoteName::parse(&[&long[..long.len() - 1], &[last]].concat()).unwrap())
            .collect();
        let paths: Paths = names.iter().cloned().collect();
        let bytes: usize = paths.0.iter().map(|path| path.rest.capacity()).sum();
        assert!(bytes < 64 * 1_024, "{bytes}");
        assert_eq!((paths.len(), paths.first()), (names.len(), names.first().cloned()));
        let iter = Paths::decode(paths.encode()).unwrap().into_iter();
        assert_eq!(iter.len(), names.len());
        assert!(iter.eq(names));
    }

    #[test]
    fn what_is_no_name_is_refused_wherever_it_stands() {
        let path = |shared, rest: &str| wire::Path { shared, rest: rest.into() };
        for told in [
            vec![path(1, "a")],
            vec![path(0, "")],
            vec![path(0, "a"), path(0, "/b")],
            vec![path(0, "a/b"), path(2, "../c")],
        ] {
            assert!(Paths::decode(told.clone()).is_err(), "{told:?}");
        }
    }
}
