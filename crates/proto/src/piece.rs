//! How a file is cut into pieces, and how the pieces' hashes make up the file's BLAKE3
//! (PROTOCOL.md, "Pieces").

use std::ops::Range;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::limits::{FILE_BYTES_MAX, PIECES_MAX};

/// Size of a piece of every file up to 1 TiB, in bytes.
const PIECE_BYTES_MIN: u64 = 1 << 20;

/// The cut of a file of a given size: pieces of one power of two, the last of what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    file_bytes: u64,
    piece_bytes: u64,
}

/// The hash of one piece: its BLAKE3 subtree chaining value; of a file's only piece, the file's BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PieceHash(pub [u8; 32]);

/// A size beyond [`FILE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file cannot have {0} bytes")]
pub struct SizeError(pub u64);

impl Geometry {
    /// The cut of a file of `file_bytes`: pieces of 1 MiB, or of the smallest doubling of that which makes no
    /// more than [`PIECES_MAX`].
    pub fn of(file_bytes: u64) -> Result<Self, SizeError> {
        if file_bytes > FILE_BYTES_MAX {
            return Err(SizeError(file_bytes));
        }
        let least = file_bytes.div_ceil(u64::from(PIECES_MAX));
        let piece_bytes = least.next_power_of_two().max(PIECE_BYTES_MIN);
        Ok(Self { file_bytes, piece_bytes })
    }

    /// Size of the file in bytes.
    pub fn file_bytes(self) -> u64 {
        self.file_bytes
    }

    /// Size of every piece but the last, in bytes.
    pub fn piece_bytes(self) -> u64 {
        self.piece_bytes
    }

    /// How many pieces there are; none in an empty file.
    pub fn count(self) -> u32 {
        u32::try_from(self.file_bytes.div_ceil(self.piece_bytes)).unwrap_or(PIECES_MAX)
    }

    /// The bytes of a piece, `None` if there is no such piece.
    pub fn piece(self, index: u32) -> Option<Range<u64>> {
        let start = u64::from(index).checked_mul(self.piece_bytes)?;
        let end = start.saturating_add(self.piece_bytes).min(self.file_bytes);
        (start < end).then_some(start..end)
    }

    /// The bytes of a run of pieces that all exist.
    pub fn bytes_of(self, pieces: Range<u32>) -> u64 {
        let end =
            |index: u32| u64::from(index).saturating_mul(self.piece_bytes).min(self.file_bytes);
        end(pieces.end).saturating_sub(end(pieces.start))
    }
}

/// Hashes one piece as its bytes come.
#[derive(Clone, Debug)]
pub struct PieceHasher {
    hasher: blake3::Hasher,
    left: u64,
    is_only: bool,
}

impl PieceHasher {
    /// Begins a piece, `None` if there is no such piece.
    pub fn new(geometry: Geometry, index: u32) -> Option<Self> {
        let piece = geometry.piece(index)?;
        let mut hasher = blake3::Hasher::new();
        // The offset is a multiple of a power of two no smaller than the piece, which the tree demands.
        hasher.set_input_offset(piece.start);
        let left = piece.end.saturating_sub(piece.start);
        Some(Self { hasher, left, is_only: geometry.count() == 1 })
    }

    /// Takes the next bytes, of which there are at most [`left`](Self::left); more are ignored, as the tree
    /// has no place for them.
    pub fn update(&mut self, bytes: &[u8]) {
        let fitting = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let fitting = bytes.get(..fitting).unwrap_or(bytes);
        self.hasher.update(fitting);
        self.left = self.left.saturating_sub(fitting.len() as u64);
    }

    /// Bytes that the piece still lacks.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The piece's hash; `None` before all its bytes were taken.
    pub fn finish(&self) -> Option<PieceHash> {
        if self.left > 0 {
            return None;
        }
        Some(PieceHash(if self.is_only {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        }))
    }
}

/// The BLAKE3 of a file from the hashes of all its pieces in order; `None` if they are not as many as there
/// are pieces.
pub fn merge(geometry: Geometry, hashes: &[PieceHash]) -> Option<blake3::Hash> {
    if hashes.len() != usize::try_from(geometry.count()).ok()? {
        return None;
    }
    match hashes {
        [] => Some(blake3::hash(b"")),
        [only] => Some(blake3::Hash::from_bytes(only.0)),
        _ => {
            let (left, right) = halves(geometry.file_bytes, geometry.piece_bytes, hashes)?;
            Some(merge_subtrees_root(&left, &right, Mode::Hash))
        }
    }
}

/// The chaining values of the two subtrees of a run of at least two pieces that has `bytes`.
fn halves(
    bytes: u64,
    piece_bytes: u64,
    hashes: &[PieceHash],
) -> Option<(ChainingValue, ChainingValue)> {
    let left_bytes = left_subtree_len(bytes);
    let left_count = usize::try_from(left_bytes.checked_div(piece_bytes)?).ok()?;
    let (left, right) = hashes.split_at_checked(left_count)?;
    let right_bytes = bytes.checked_sub(left_bytes)?;
    Some((subtree(left_bytes, piece_bytes, left)?, subtree(right_bytes, piece_bytes, right)?))
}

fn subtree(bytes: u64, piece_bytes: u64, hashes: &[PieceHash]) -> Option<ChainingValue> {
    if let [only] = hashes {
        return Some(only.0);
    }
    let (left, right) = halves(bytes, piece_bytes, hashes)?;
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

impl std::fmt::Debug for PieceHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PieceHash({})", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, PIECE_BYTES_MIN, PieceHash, PieceHasher, merge};
    use crate::limits::{FILE_BYTES_MAX, PIECES_MAX};

    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;

    fn hash_pieces(content: &[u8], geometry: Geometry) -> Vec<PieceHash> {
        (0..geometry.count())
            .map(|index| {
                let piece = geometry.piece(index).unwrap();
                let mut hasher = PieceHasher::new(geometry, index).unwrap();
                hasher.update(&content[piece.start as usize..piece.end as usize]);
                hasher.finish().unwrap()
            })
            .collect()
    }

    #[test]
    fn pieces_are_1_mib_up_to_1_tib_and_double_above() {
        for (size, piece, count) in [
            (0, MIB, 0),
            (1, MIB, 1),
            (MIB, MIB, 1),
            (MIB + 1, MIB, 2),
            (TIB, MIB, PIECES_MAX),
            (TIB + 1, 2 * MIB, PIECES_MAX / 2 + 1),
            (2 * TIB, 2 * MIB, PIECES_MAX),
            (5 * TIB, 8 * MIB, 655_360),
            (FILE_BYTES_MAX, 8 * TIB, PIECES_MAX),
        ] {
            let geometry = Geometry::of(size).unwrap();
            assert_eq!((geometry.piece_bytes(), geometry.count()), (piece, count), "{size}");
        }
        assert!(Geometry::of(FILE_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn pieces_cover_the_file_without_gap_or_overlap() {
        for size in [1, MIB - 1, MIB, MIB + 1, 3 * MIB, 7 * MIB + 5] {
            let geometry = Geometry::of(size).unwrap();
            let mut end = 0;
            for index in 0..geometry.count() {
                let piece = geometry.piece(index).unwrap();
                assert_eq!(piece.start, end);
                end = piece.end;
            }
            assert_eq!(end, size);
            assert_eq!(geometry.piece(geometry.count()), None);
            assert_eq!(geometry.bytes_of(0..geometry.count()), size);
        }
    }

    #[test]
    fn merged_pieces_are_the_plain_blake3_of_the_file() {
        let content: Vec<u8> = (0..9 * MIB + 77).map(|byte| (byte % 251) as u8).collect();
        let sizes =
            (0..=9).flat_map(|mib| [0, 1, 1_023, 1_024, 1_025].map(|more| mib * MIB + more));
        for size in sizes.chain((1..=9).map(|mib| mib * MIB - 1)) {
            let content = &content[..usize::try_from(size).unwrap().min(content.len())];
            let geometry = Geometry::of(content.len() as u64).unwrap();
            let merged = merge(geometry, &hash_pieces(content, geometry));
            assert_eq!(merged, Some(blake3::hash(content)), "{size} bytes");
        }
    }

    #[test]
    fn any_other_number_of_hashes_is_refused() {
        let geometry = Geometry::of(3 * PIECE_BYTES_MIN).unwrap();
        for count in [0, 1, 2, 4] {
            assert_eq!(merge(geometry, &vec![PieceHash([0; 32]); count]), None, "{count}");
        }
    }

    #[test]
    fn a_piece_is_hashed_only_whole_and_never_takes_more() {
        let geometry = Geometry::of(MIB + 10).unwrap();
        let mut hasher = PieceHasher::new(geometry, 1).unwrap();
        hasher.update(b"12345");
        assert_eq!((hasher.left(), hasher.finish()), (5, None));
        hasher.update(b"67890 and more");
        let mut exact = PieceHasher::new(geometry, 1).unwrap();
        exact.update(b"1234567890");
        assert_eq!(hasher.finish(), exact.finish());
        assert!(PieceHasher::new(geometry, 2).is_none());
    }
}
