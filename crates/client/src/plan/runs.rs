//! A set of pieces as disjoint runs, which is small where pieces are added and removed in order.

use std::collections::BTreeMap;
use std::ops::Range;

/// Runs that neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// The end of each run, by its first piece.
    ends: BTreeMap<u32, u32>,
    count: u32,
}

impl Runs {
    /// All of the first `count` pieces.
    pub(super) fn first(count: u32) -> Self {
        let ends = if count > 0 { BTreeMap::from([(0, count)]) } else { BTreeMap::new() };
        Self { ends, count }
    }

    /// How many pieces are in the set.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The runs in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u32>> {
        self.ends.iter().map(|(&first, &end)| first..end)
    }

    /// Adds a piece that is not in the set.
    pub(super) fn insert(&mut self, piece: u32) {
        let before = self.ends.range(..piece).next_back().map(|(first, end)| (*first, *end));
        let first = before.filter(|(_, end)| *end == piece).map_or(piece, |(first, _)| first);
        let end = self.ends.remove(&(piece + 1)).unwrap_or(piece + 1);
        self.ends.insert(first, end);
        self.count += 1;
    }

    /// Removes pieces that are all in one run of the set.
    pub(super) fn remove(&mut self, pieces: Range<u32>) {
        let Some((&first, &end)) = self.ends.range(..=pieces.start).next_back() else { return };
        self.ends.remove(&first);
        for rest in [first..pieces.start, pieces.end..end] {
            if !rest.is_empty() {
                self.ends.insert(rest.start, rest.end);
            }
        }
        self.count -= pieces.end - pieces.start;
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn runs_split_where_pieces_leave_and_join_where_they_return() {
        let mut runs = Runs::first(10);
        runs.remove(3..5);
        runs.remove(0..1);
        assert_eq!(runs.iter().collect::<Vec<_>>(), [1..3, 5..10]);
        runs.insert(4);
        assert_eq!(runs.iter().collect::<Vec<_>>(), [1..3, 4..10]);
        runs.insert(3);
        runs.insert(0);
        assert!(runs.iter().eq(std::iter::once(0..10)) && runs.count() == 10);
        assert_eq!(Runs::first(0).iter().count(), 0);
    }
}
