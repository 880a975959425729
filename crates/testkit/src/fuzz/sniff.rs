//! Sniffing, as bytes come in.

use towline_proto::sniff::{SNIFF_BYTES_MAX, Sniff, sniff as look};

/// What is settled stays so whatever follows, and it is settled within the cap.
///
/// # Panics
/// Where that does not hold.
pub fn sniff(bytes: &[u8]) {
    let mut settled = None;
    for length in 0..=bytes.len().min(SNIFF_BYTES_MAX) {
        let seen = look(&bytes[..length]);
        match settled {
            Some(before) => assert_eq!(seen, before, "another byte changed what was settled"),
            None if seen == Sniff::NeedMore => {
                assert!(length < SNIFF_BYTES_MAX, "not settled within the cap");
            }
            None => settled = Some(seen),
        }
    }
    if let Some(settled) = settled {
        assert_eq!(look(bytes), settled, "bytes beyond the cap were looked at");
    }
}
