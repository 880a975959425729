//! Deterministic file contents: a size and a seed say every byte.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::random::Random;

/// Bytes written at a time; a multiple of 8, so that a file equals [`random_bytes`] of the same
/// seed.
const BLOCK_BYTES: usize = 1 << 20;

/// The `size_bytes` bytes that follow from `seed`, in memory.
pub fn random_bytes(size_bytes: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_bytes];
    Random::from_seed(seed).fill(&mut bytes);
    bytes
}

/// Writes the `size_bytes` bytes that follow from `seed` to a new or emptied file, in constant
/// memory.
///
/// The content is that of [`random_bytes`]: it does not compress, and has no holes.
pub fn write_random_file(path: impl AsRef<Path>, size_bytes: u64, seed: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut random = Random::from_seed(seed);
    let mut block = vec![0; BLOCK_BYTES];
    let mut left_bytes = size_bytes;
    while left_bytes > 0 {
        let length = usize::try_from(left_bytes).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        random.fill(&mut block[..length]);
        file.write_all(&block[..length])?;
        left_bytes -= length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_the_bytes_of_its_seed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for size in [0, 1, 8, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 13] {
            write_random_file(&path, size as u64, 7).unwrap();
            assert!(std::fs::read(&path).unwrap() == random_bytes(size, 7), "{size} bytes");
        }
    }

    #[test]
    fn another_seed_gives_other_bytes() {
        assert_ne!(random_bytes(64, 1), random_bytes(64, 2));
    }
}
