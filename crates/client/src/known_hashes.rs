//! The hashes of some of a file's pieces, by number. Pure.

use towline_proto::piece::PieceHash;

/// In the place of a hash that is not known.
const UNKNOWN: PieceHash = PieceHash([0; _]);

/// Hashes by the number of their piece. Takes 33 bytes for each piece up to the last that is known, where a map takes
/// twice as much: a file has up to a million pieces.
#[derive(Clone, Debug, Default)]
pub struct KnownHashes {
    hashes: Vec<PieceHash>,
    is_known: Vec<bool>,
}

impl KnownHashes {
    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        !self.is_known.contains(&true)
    }

    /// How many are known.
    pub fn count(&self) -> usize {
        self.is_known.iter().filter(|known| **known).count()
    }

    /// The hash of a piece.
    pub fn get(&self, index: u32) -> Option<PieceHash> {
        let is_known = self.is_known.get(index as usize).copied().unwrap_or_default();
        self.hashes.get(index as usize).copied().filter(|_| is_known)
    }

    /// Takes note of the hash of a piece, instead of what was known of it.
    pub fn insert(&mut self, index: u32, hash: PieceHash) {
        let index = index as usize;
        if index >= self.hashes.len() {
            self.set_len(index + 1);
        }
        self.hashes[index] = hash;
        self.is_known[index] = true;
    }

    /// Forgets the hash of a piece.
    pub fn remove(&mut self, index: u32) {
        if let Some(is_known) = self.is_known.get_mut(index as usize) {
            *is_known = false;
        }
    }

    /// Has room for so many pieces and forgets those beyond.
    pub fn set_len(&mut self, count: usize) {
        self.hashes.resize(count, UNKNOWN);
        self.is_known.resize(count, false);
    }

    /// The pieces whose hash is known, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, PieceHash)> {
        let all = (0..).zip(&self.hashes).zip(&self.is_known);
        all.filter(|(_, is_known)| **is_known).map(|((index, hash), _)| (index, *hash))
    }

    /// The hashes in order, if all are known.
    pub fn into_all(self) -> Option<Vec<PieceHash>> {
        (!self.is_known.contains(&false)).then_some(self.hashes)
    }
}

/// Equal where the same hashes are known.
impl PartialEq for KnownHashes {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for KnownHashes {}

impl FromIterator<(u32, PieceHash)> for KnownHashes {
    fn from_iter<I: IntoIterator<Item = (u32, PieceHash)>>(pieces: I) -> Self {
        let mut known = Self::default();
        pieces.into_iter().for_each(|(index, hash)| known.insert(index, hash));
        known
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::piece::PieceHash;

    use super::KnownHashes;

    const A: PieceHash = PieceHash([1; 32]);
    const B: PieceHash = PieceHash([2; 32]);

    #[test]
    fn what_is_noted_is_known_until_it_is_removed() {
        let mut known: KnownHashes = [(3, A), (1, B)].into_iter().collect();
        assert_eq!(
            (known.count(), known.get(3), known.get(2), known.get(9)),
            (2, Some(A), None, None)
        );
        assert_eq!(known.iter().collect::<Vec<_>>(), [(1, B), (3, A)]);
        known.insert(3, B);
        known.remove(1);
        known.remove(9);
        assert_eq!(known, [(3, B)].into_iter().collect());
        assert!(!known.is_empty() && KnownHashes::default().is_empty());
    }

    #[test]
    fn all_are_told_only_where_all_are_known() {
        let mut known: KnownHashes = [(0, A), (1, B), (7, A)].into_iter().collect();
        assert_eq!(known.clone().into_all(), None);
        known.set_len(2);
        assert_eq!(known.into_all(), Some(vec![A, B]));
        assert_eq!(KnownHashes::default().into_all(), Some(vec![]));
    }
}
