//! The sniff table: which face the first bytes of a connection ask for (PROTOCOL.md, "One port").

/// The protocols that share the one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Face {
    /// A TLS handshake record; what it carries is sniffed again inside.
    Tls,
    /// The native protocol.
    Native,
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// The classic protocol.
    Classic,
}

/// What the first bytes say so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// They begin more than one thing, or not yet enough of one.
    NeedMore,
    /// Settled; never sniffed again after that.
    Face(Face),
    /// No face begins like this.
    Unknown,
}

/// Every beginning of every face. None is a prefix of another, so a match is final.
const SIGNATURES: &[(&[u8], Face)] = &[
    // TLS record of type handshake, major version 3 (RFC 8446, section 5.1).
    (b"\x16\x03", Face::Tls),
    (b"\xF7TOW", Face::Native),
    // The high half of a name length, which NAME_BYTES_MAX keeps zero.
    (b"\x00\x00", Face::Classic),
    (b"PRI * HTTP/2.0", Face::Http),
    (b"GET ", Face::Http),
    (b"HEAD ", Face::Http),
    (b"POST ", Face::Http),
    (b"PUT ", Face::Http),
    (b"PATCH ", Face::Http),
    (b"DELETE ", Face::Http),
    (b"OPTIONS ", Face::Http),
    (b"CONNECT ", Face::Http),
    (b"TRACE ", Face::Http),
    (b"PROPFIND ", Face::Http),
    (b"PROPPATCH ", Face::Http),
    (b"MKCOL ", Face::Http),
    (b"COPY ", Face::Http),
    (b"MOVE ", Face::Http),
    (b"LOCK ", Face::Http),
    (b"UNLOCK ", Face::Http),
];

/// Most bytes that have to be read before [`sniff`] is settled.
pub const SNIFF_BYTES_MAX: usize = b"PRI * HTTP/2.0".len();

/// Looks up the first bytes of a connection.
pub fn sniff(first_bytes: &[u8]) -> Sniff {
    let mut open = false;
    for (signature, face) in SIGNATURES {
        if first_bytes.starts_with(signature) {
            return Sniff::Face(*face);
        }
        open |= signature.starts_with(first_bytes);
    }
    if open { Sniff::NeedMore } else { Sniff::Unknown }
}

#[cfg(test)]
mod tests {
    use super::{Face, SIGNATURES, SNIFF_BYTES_MAX, Sniff, sniff};

    #[test]
    fn every_signature_settles_at_its_last_byte_and_not_before() {
        for (signature, face) in SIGNATURES {
            for length in 0..signature.len() {
                assert_eq!(
                    sniff(&signature[..length]),
                    Sniff::NeedMore,
                    "{signature:?} at {length}"
                );
            }
            assert_eq!(sniff(signature), Sniff::Face(*face));
            assert!(signature.len() <= SNIFF_BYTES_MAX);
        }
    }

    #[test]
    fn no_signature_hides_another() {
        for (index, (one, _)) in SIGNATURES.iter().enumerate() {
            for (other, _) in &SIGNATURES[index + 1..] {
                assert!(!one.starts_with(other) && !other.starts_with(one), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_classic_request_within_the_cap_is_classic_and_none_beyond_64_kib_is() {
        assert_eq!(sniff(&4_096_u32.to_be_bytes()), Sniff::Face(Face::Classic));
        assert_eq!(sniff(&65_536_u32.to_be_bytes()), Sniff::Unknown);
        assert_eq!(sniff(&u32::MAX.to_be_bytes()), Sniff::Unknown);
    }

    #[test]
    fn other_protocols_are_unknown() {
        for first in [b"SSH-2.0-".as_slice(), b"get / ", b"\x16\x02", b"GETX", b"\r\n", b"\xff"] {
            assert_eq!(sniff(first), Sniff::Unknown, "{first:?}");
        }
    }
}
