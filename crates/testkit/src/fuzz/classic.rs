//! The classic protocol, both ways.

use std::fmt::{Debug, Display};

use towline_proto::classic::{Header, Reply, ReplyError, Request};
use towline_proto::codec::Decoded;
use towline_proto::digest::Md5Digest;
use towline_proto::limits::{FILE_BYTES_MAX, NAME_BYTES_MAX};
use towline_proto::name::RemoteName;
use towline_proto::sniff::{Face, Sniff, sniff};

use super::is_printable;

/// The longest messages, in bytes: a length and a name; `OK`, these two, a size and a checksum.
const REQUEST_BYTES_MAX: usize = 4 + NAME_BYTES_MAX;
const REPLY_BYTES_MAX: usize = 2 + REQUEST_BYTES_MAX + 8 + Md5Digest::HEX_BYTES;

/// How many bytes after the end of a message are tried one by one.
const TAIL_BYTES: usize = 16;

/// A request that decodes encodes to the same bytes and is sniffed as one; a name that can be asked for
/// comes through.
///
/// # Panics
/// Where that does not hold.
pub fn classic_request(bytes: &[u8]) {
    if let Some((request, length)) = decode_growing(bytes, REQUEST_BYTES_MAX, Request::decode) {
        assert_eq!(request.encode(), bytes[..length]);
        assert_eq!(sniff(bytes), Sniff::Face(Face::Classic));
    }
    let asked_for = RemoteName::parse(bytes).ok().map(Request::new);
    if let Some(Ok(request)) = asked_for {
        let encoded = request.encode();
        assert_eq!(Request::decode(&encoded), Ok(Decoded::Done(request)));
    }
}

/// A reply that decodes encodes to the same bytes, but for the case of the checksum's digits; a header
/// with these bytes as its fields comes through, or is refused for the field that is beyond its cap.
///
/// # Panics
/// Where that does not hold.
pub fn classic_reply(bytes: &[u8]) {
    match decode_growing(bytes, REPLY_BYTES_MAX, Reply::decode) {
        Some((Reply::Found(header), length)) => {
            let encoded = header.encode();
            let before_md5 = Header::bytes_before_md5(&encoded);
            assert!(bytes.starts_with(before_md5));
            let digits = &bytes[before_md5.len()..length];
            assert_eq!(encoded[before_md5.len()..], digits.to_ascii_lowercase());
        }
        Some((Reply::Refused, length)) => {
            assert_eq!(bytes[..length], Reply::encode_refusal(""));
        }
        None => {}
    }
    if let Some(header) = header_of(bytes) {
        check_header(header);
    }
}

/// Takes a checksum, a size and a name from the bytes.
fn header_of(bytes: &[u8]) -> Option<Header> {
    let (md5, rest) = bytes.split_first_chunk()?;
    let (size, name) = rest.split_first_chunk()?;
    Some(Header {
        name: String::from_utf8_lossy(name).into_owned(),
        size: u64::from_be_bytes(*size),
        md5: Md5Digest(*md5),
    })
}

fn check_header(header: Header) {
    let decoded = Reply::decode(&header.encode());
    if header.name.len() > NAME_BYTES_MAX {
        assert!(matches!(decoded, Err(ReplyError::NameTooLong(_))));
    } else if header.size > FILE_BYTES_MAX {
        assert_eq!(decoded, Err(ReplyError::SizeTooLarge(header.size)));
    } else {
        assert_eq!(decoded, Ok(Decoded::Done(Reply::Found(header))));
    }
}

/// Decodes every prefix of `bytes`; returns the message, if there is one, and its length.
///
/// Until its last byte a message needs more, never so much that reading it would go beyond: therefore a
/// reader that always reads just what is needed stops at that byte. What is settled, a message or an
/// error, stays settled whatever follows.
fn decode_growing<T, E>(
    bytes: &[u8],
    message_bytes_max: usize,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) -> Option<(T, usize)>
where
    T: Debug + PartialEq,
    E: Debug + Display,
{
    let mut needed_bytes = 0;
    for length in 0..=bytes.len() {
        match decode(&bytes[..length]) {
            Ok(Decoded::NeedMore(missing)) => {
                assert!(missing > 0, "nothing is missing after {length} bytes");
                needed_bytes = needed_bytes.max(length + missing);
                assert!(needed_bytes <= message_bytes_max);
            }
            Ok(Decoded::Done(message)) => {
                assert!(needed_bytes <= length, "{needed_bytes} > {length}");
                for longer in longer(bytes, length) {
                    let again = decode(longer);
                    assert!(
                        matches!(&again, Ok(Decoded::Done(again)) if *again == message),
                        "{message:?} became {again:?}"
                    );
                }
                return Some((message, length));
            }
            Err(error) => {
                assert!(is_printable(&error.to_string()), "{error:?}");
                for longer in longer(bytes, length) {
                    assert!(decode(longer).is_err(), "{error:?} went away");
                }
                return None;
            }
        }
    }
    None
}

/// Some prefixes with more than the first `length` bytes, and all the bytes.
fn longer(bytes: &[u8], length: usize) -> impl Iterator<Item = &[u8]> {
    let lengths = (length + 1..=bytes.len()).take(TAIL_BYTES);
    lengths.chain([bytes.len()]).map(|length| &bytes[..length])
}
