//! The first bytes of each side: version and capabilities.

use crate::codec::{Incomplete, Reader};

/// Bytes of a preface.
pub const PREFACE_BYTES: usize = 20;

/// "÷TOW", which the sniff table knows.
pub const MAGIC: [u8; 4] = [0xF7, b'T', b'O', b'W'];

/// The version that is spoken here.
const VERSION: u8 = 1;

/// A set of capabilities, one bit each. None is defined yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Those that are spoken here.
    pub const SPOKEN: Self = Self(0);

    /// Those of `self` that are not in `other`.
    pub fn missing_from(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// What the peer must understand; anything unknown is refused.
    pub required: Capabilities,
    /// What may be used if both sides have it.
    pub offered: Capabilities,
}

/// Why a preface is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefaceError {
    /// Other first bytes.
    #[error("the peer does not speak the native protocol")]
    Magic,
    /// The checksum is wrong.
    #[error("the preface was damaged on the way")]
    Damaged,
    /// Another version of the protocol.
    #[error("the peer speaks version {0} of the protocol, and only {VERSION} is spoken here")]
    Version(u8),
    /// A capability that is required is not known here.
    #[error("the peer requires capabilities that are not known here ({:#x})", .0.0)]
    Capabilities(Capabilities),
    /// Too few bytes.
    #[error("the preface is incomplete")]
    Incomplete,
}

impl From<Incomplete> for PrefaceError {
    fn from(_: Incomplete) -> Self {
        Self::Incomplete
    }
}

impl Preface {
    /// What is said here.
    pub const OURS: Self = Self { required: Capabilities(0), offered: Capabilities::SPOKEN };

    /// The bytes that go out.
    pub fn encode(self) -> [u8; PREFACE_BYTES] {
        let mut bytes = [0; PREFACE_BYTES];
        let (fields, crc) = bytes.split_at_mut(PREFACE_BYTES.saturating_sub(4));
        let parts = [
            MAGIC,
            [VERSION, 0, 0, 0],
            self.required.0.to_be_bytes(),
            self.offered.0.to_be_bytes(),
        ];
        for (field, part) in fields.chunks_exact_mut(4).zip(parts) {
            field.copy_from_slice(&part);
        }
        crc.copy_from_slice(&crc32c::crc32c(fields).to_be_bytes());
        bytes
    }

    /// Reads a peer's preface and checks that it can be spoken with.
    pub fn decode(bytes: &[u8; PREFACE_BYTES]) -> Result<Self, PrefaceError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(PrefaceError::Magic);
        }
        let [version, ..] = reader.array::<4>()?;
        let preface =
            Self { required: Capabilities(reader.u32()?), offered: Capabilities(reader.u32()?) };
        let covered = bytes.get(..PREFACE_BYTES.saturating_sub(4)).unwrap_or_default();
        if reader.u32()? != crc32c::crc32c(covered) {
            return Err(PrefaceError::Damaged);
        }
        if version != VERSION {
            return Err(PrefaceError::Version(version));
        }
        match preface.required.missing_from(Capabilities::SPOKEN) {
            Capabilities(0) => Ok(preface),
            unknown => Err(PrefaceError::Capabilities(unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Capabilities, Preface, PrefaceError};

    #[test]
    fn a_preface_survives_the_wire() {
        assert_eq!(Preface::decode(&Preface::OURS.encode()), Ok(Preface::OURS));
        assert!(Preface::OURS.encode().starts_with(b"\xF7TOW\x01"));
    }

    #[test]
    fn unknown_offers_are_ignored_and_unknown_demands_refused() {
        let offer = Preface { offered: Capabilities(u32::MAX), ..Preface::OURS };
        assert_eq!(Preface::decode(&offer.encode()), Ok(offer));
        let demand = Preface { required: Capabilities(4), ..Preface::OURS };
        let refused = Preface::decode(&demand.encode());
        assert_eq!(refused, Err(PrefaceError::Capabilities(Capabilities(4))));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = Preface::OURS.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Preface::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = Preface::OURS.encode();
        bytes[4] = 2;
        let crc = crc32c::crc32c(&bytes[..16]).to_be_bytes();
        bytes[16..].copy_from_slice(&crc);
        assert_eq!(Preface::decode(&bytes), Err(PrefaceError::Version(2)));
    }
}
