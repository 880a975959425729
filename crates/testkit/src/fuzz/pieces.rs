//! How a file is cut, and how the pieces' hashes make up its own.

use towline_proto::limits::{FILE_BYTES_MAX, PIECES_MAX};
use towline_proto::piece::{Geometry, PieceHash, PieceHasher, merge};

use crate::random::Random;

/// Largest content that is hashed, in bytes.
const CONTENT_BYTES_MAX: u64 = 4 << 20;

/// The first eight bytes are a file's size: its pieces cover it without gap, or no file has it. Those of a
/// content drawn from all the bytes, hashed in chunks, merge into its BLAKE3.
///
/// # Panics
/// Where that does not hold.
pub fn pieces(bytes: &[u8]) {
    let Some((size, rest)) = bytes.split_first_chunk() else { return };
    let size = u64::from_be_bytes(*size);
    match Geometry::of(size) {
        Ok(geometry) => check_geometry(geometry, rest),
        Err(_) => assert!(size > FILE_BYTES_MAX),
    }
    check_merge(size, rest);
}

fn check_geometry(geometry: Geometry, rest: &[u8]) {
    let (size, count) = (geometry.file_bytes(), geometry.count());
    assert!(geometry.piece_bytes().is_power_of_two() && count <= PIECES_MAX);
    assert_eq!(geometry.bytes_of(0..count), size);
    assert_eq!(geometry.piece(count), None);
    assert_eq!(geometry.piece(u32::MAX), None);
    let Some(last) = count.checked_sub(1) else { return assert_eq!(size, 0) };
    assert_eq!(geometry.piece(0).map(|piece| piece.start), Some(0));
    assert_eq!(geometry.piece(last).map(|piece| piece.end), Some(size));
    let anywhere = rest.first_chunk().map_or(0, |index| u32::from_be_bytes(*index) % count);
    for index in [anywhere, last] {
        let piece = geometry.piece(index).expect("it is below the count");
        assert_eq!(piece.end - piece.start, geometry.bytes_of(index..index + 1));
        assert_eq!(PieceHasher::new(geometry, index).map(|hasher| hasher.left()), {
            Some(piece.end - piece.start)
        });
        let next = geometry.piece(index + 1);
        assert!(next.map_or(index == last, |next| next.start == piece.end));
    }
}

fn check_merge(size: u64, rest: &[u8]) {
    let seed = rest.iter().fold(size, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
    let mut random = Random::from_seed(seed);
    let size = usize::try_from(size % (CONTENT_BYTES_MAX + 1)).expect("it is small");
    let mut content = vec![0; size];
    random.fill(&mut content);
    let geometry = Geometry::of(size as u64).expect("it is small");
    let hashes: Vec<PieceHash> = content
        .chunks(usize::try_from(geometry.piece_bytes()).expect("it is small"))
        .zip(0..)
        .map(|(piece, index)| {
            let mut hasher = PieceHasher::new(geometry, index).expect("it is below the count");
            let chunk = usize::try_from(1 + random.below(geometry.piece_bytes())).unwrap_or(1);
            piece.chunks(chunk.max(1_000)).for_each(|chunk| hasher.update(chunk));
            hasher.finish().expect("it is whole")
        })
        .collect();
    assert_eq!(merge(geometry, &hashes), Some(blake3::hash(&content)));
    assert_eq!(merge(geometry, &[hashes.as_slice(), &[PieceHash([0; 32])]].concat()), None);
}
