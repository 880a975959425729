//! The one bounds-checked cursor over bytes from a peer, and what an incremental decoder answers.

/// What a decoder makes of the bytes that have come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// Well formed so far, and at least this many more bytes belong to it; never zero. Reading exactly
    /// that many never reads past the end of the message.
    NeedMore(usize),
    /// A whole message, at the start of the bytes.
    Done(T),
}

/// The bytes end before the message does; how many more are needed at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete(pub usize);

/// A cursor over received bytes. The size check is written once, in [`Reader::take`].
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Incomplete> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Incomplete(length.saturating_sub(self.rest.len())))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Incomplete> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, Incomplete> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, Incomplete> {
        self.array().map(u64::from_be_bytes)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Incomplete, Reader};

    #[test]
    fn numbers_are_big_endian_and_missing_bytes_are_counted() {
        let mut reader = Reader::new(&[0, 0, 1, 2, 9]);
        assert_eq!(reader.u32(), Ok(258));
        assert_eq!(reader.u64(), Err(Incomplete(7)));
        assert_eq!(reader.take(1), Ok([9].as_slice()));
        assert_eq!(reader.remaining(), 0);
    }
}
