//! The classic protocol, both ways (PROTOCOL.md, "The classic protocol").

use crate::codec::{Decoded, Incomplete, Reader};
use crate::digest::{DigestError, Md5Digest};
use crate::escape::Escaped;
use crate::limits::{FILE_BYTES_MAX, NAME_BYTES_MAX};
use crate::name::{NameError, RemoteName};

const FOUND: &[u8] = b"OK";
const REFUSED: &[u8] = b"ERROR";

/// A request for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    name: RemoteName,
}

/// Why bytes are not a request, or a name cannot be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The length says more than [`NAME_BYTES_MAX`]; told before any of the name is read.
    #[error("the name has {0} bytes, more than {NAME_BYTES_MAX}")]
    NameTooLong(u32),
    /// The name is not UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// The bytes are no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Request {
    /// Asks for `name`, which has to be UTF-8.
    pub fn new(name: RemoteName) -> Result<Self, RequestError> {
        name.to_str().ok_or(RequestError::NotUtf8)?;
        Ok(Self { name })
    }

    /// The file that is asked for.
    pub fn name(&self) -> &RemoteName {
        &self.name
    }

    /// Takes the name out.
    pub fn into_name(self) -> RemoteName {
        self.name
    }

    /// Reads a request from the bytes so far.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, RequestError> {
        let mut reader = Reader::new(bytes);
        let name = match take_name(&mut reader) {
            Ok(name) => name,
            Err(Stop::NeedMore(missing)) => return Ok(Decoded::NeedMore(missing)),
            Err(Stop::NameTooLong(length)) => return Err(RequestError::NameTooLong(length)),
        };
        let name = RemoteName::parse(name)?;
        Request::new(name).map(Decoded::Done)
    }

    /// The bytes that go out.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_name(&mut bytes, self.name.as_bytes());
        bytes
    }
}

/// What a reply says of the file before its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name as the server repeats it: what was asked for, or the last component of that.
    pub name: String,
    /// Bytes of content that follow.
    pub size: u64,
    /// MD5 of the content.
    pub md5: Md5Digest,
}

/// How a reply begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The file follows.
    Found(Header),
    /// A message follows until the connection closes.
    Refused,
}

/// Why bytes are not a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// Neither `OK` nor `ERROR`.
    #[error("the answer begins with \"{}\", not with OK or ERROR: is that a classic server?", Escaped(.0))]
    NotClassic(Vec<u8>),
    /// The length says more than [`NAME_BYTES_MAX`].
    #[error("the answer names a file of {0} bytes' name, more than {NAME_BYTES_MAX}")]
    NameTooLong(u32),
    /// The name is not UTF-8.
    #[error("the answer names a file in bytes that are not UTF-8")]
    NotUtf8,
    /// More than [`FILE_BYTES_MAX`].
    #[error("the answer declares {0} bytes, more than a file can have")]
    SizeTooLarge(u64),
    /// Not 32 hexadecimal digits.
    #[error("the answer's checksum is {0}")]
    Md5(#[from] DigestError),
}

impl Header {
    /// The bytes that go out before the content.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = FOUND.to_vec();
        put_name(&mut bytes, self.name.as_bytes());
        bytes.extend_from_slice(&self.size.to_be_bytes());
        bytes.extend_from_slice(self.md5.to_string().as_bytes());
        bytes
    }

    /// How many of the encoded bytes are known before the MD5 is: all but its digits.
    pub fn bytes_before_md5(encoded: &[u8]) -> &[u8] {
        let length = encoded.len().saturating_sub(Md5Digest::HEX_BYTES);
        encoded.get(..length).unwrap_or_default()
    }

    /// Whether this header answers that request: by the whole name or by its last component.
    pub fn answers(&self, request: &Request) -> bool {
        let name = self.name.as_bytes();
        name == request.name.as_bytes() || name == request.name.file_name()
    }
}

impl Reply {
    /// Reads the beginning of a reply from the bytes so far.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, ReplyError> {
        let first = bytes.get(..FOUND.len()).unwrap_or(bytes);
        if first == FOUND.get(..first.len()).unwrap_or_default() {
            return decode_found(bytes);
        }
        let first = bytes.get(..REFUSED.len()).unwrap_or(bytes);
        match REFUSED.strip_prefix(first) {
            Some([]) => Ok(Decoded::Done(Self::Refused)),
            Some(missing) => Ok(Decoded::NeedMore(missing.len())),
            None => Err(ReplyError::NotClassic(first.to_vec())),
        }
    }

    /// The bytes of a refusal; the connection is closed after them.
    pub fn encode_refusal(message: &str) -> Vec<u8> {
        [REFUSED, message.as_bytes()].concat()
    }
}

fn decode_found(bytes: &[u8]) -> Result<Decoded<Reply>, ReplyError> {
    match header(&mut Reader::new(bytes)) {
        Ok((name, size, md5)) => {
            let name = std::str::from_utf8(name).map_err(|_| ReplyError::NotUtf8)?.to_owned();
            if size > FILE_BYTES_MAX {
                return Err(ReplyError::SizeTooLarge(size));
            }
            let md5 = Md5Digest::parse_hex(md5)?;
            Ok(Decoded::Done(Reply::Found(Header { name, size, md5 })))
        }
        Err(Stop::NeedMore(missing)) => Ok(Decoded::NeedMore(missing)),
        Err(Stop::NameTooLong(length)) => Err(ReplyError::NameTooLong(length)),
    }
}

/// The raw fields of a header: name, size, digits of the MD5.
fn header<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], u64, &'a [u8]), Stop> {
    reader.take(FOUND.len())?;
    Ok((take_name(reader)?, reader.u64()?, reader.take(Md5Digest::HEX_BYTES)?))
}

/// Why reading a length-prefixed name stopped.
enum Stop {
    NeedMore(usize),
    NameTooLong(u32),
}

impl From<Incomplete> for Stop {
    fn from(Incomplete(missing): Incomplete) -> Self {
        Self::NeedMore(missing)
    }
}

fn take_name<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Stop> {
    let length = reader.u32()?;
    match usize::try_from(length) {
        Ok(bytes) if bytes <= NAME_BYTES_MAX => Ok(reader.take(bytes)?),
        _ => Err(Stop::NameTooLong(length)),
    }
}

fn put_name(bytes: &mut Vec<u8>, name: &[u8]) {
    // A `RemoteName` is within NAME_BYTES_MAX, and so is its last component.
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::{Header, Reply, ReplyError, Request, RequestError};
    use crate::codec::Decoded;
    use crate::digest::Md5Digest;
    use crate::name::RemoteName;

    fn request(name: &str) -> Request {
        Request::new(RemoteName::parse(name.as_bytes()).unwrap()).unwrap()
    }

    fn header() -> Header {
        Header { name: "a.txt".into(), size: 5, md5: Md5Digest([0xab; 16]) }
    }

    /// Feeds `message` as a socket loop would, asking for just the bytes that the decoder wants.
    fn read_like_a_socket<T, E>(
        message: &[u8],
        decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
    ) -> Result<T, E> {
        let mut read = 0;
        loop {
            match decode(&message[..read])? {
                Decoded::Done(value) => {
                    assert_eq!(read, message.len(), "no byte beyond the message was asked for");
                    return Ok(value);
                }
                Decoded::NeedMore(missing) => {
                    assert!(missing > 0);
                    read += missing;
                }
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        assert_eq!(request("a.txt").encode(), b"\0\0\0\x05a.txt");
        assert_eq!(
            header().encode(),
            b"OK\0\0\0\x05a.txt\0\0\0\0\0\0\0\x05abababababababababababababababab"
        );
        assert_eq!(Reply::encode_refusal("no such file"), b"ERRORno such file");
    }

    #[test]
    fn both_ways_agree_and_nothing_is_read_beyond_the_message() {
        let request = request("sub/ä.txt");
        assert_eq!(read_like_a_socket(&request.encode(), Request::decode).unwrap(), request);
        let reply = read_like_a_socket(&header().encode(), Reply::decode).unwrap();
        assert_eq!(reply, Reply::Found(header()));
        assert_eq!(read_like_a_socket(b"ERROR", Reply::decode).unwrap(), Reply::Refused);
    }

    #[test]
    fn a_bad_length_is_refused_before_the_name_is_read() {
        assert_eq!(Request::decode(b"\0\0\x10\x01"), Err(RequestError::NameTooLong(4_097)));
        assert_eq!(Request::decode(&[0xff; 4]), Err(RequestError::NameTooLong(u32::MAX)));
        assert!(matches!(Request::decode(&[0; 4]), Err(RequestError::Name(_))));
        assert_eq!(Reply::decode(b"OK\xff\xff\xff\xff"), Err(ReplyError::NameTooLong(u32::MAX)));
    }

    #[test]
    fn overlong_and_broken_utf8_is_refused() {
        assert_eq!(Request::decode(b"\0\0\0\x02\xc0\xae"), Err(RequestError::NotUtf8));
        assert_eq!(Request::decode(b"\0\0\0\x01\xff"), Err(RequestError::NotUtf8));
    }

    #[test]
    fn a_reply_of_another_protocol_is_told_at_its_first_bytes() {
        assert!(matches!(Reply::decode(b"SS"), Err(ReplyError::NotClassic(_))));
        assert!(matches!(Reply::decode(b"EHLO "), Err(ReplyError::NotClassic(_))));
        assert!(matches!(Reply::decode(b"H"), Err(ReplyError::NotClassic(_))));
    }

    #[test]
    fn an_impossible_size_or_checksum_is_refused() {
        let mut bytes = header().encode();
        bytes[11] = 0x80;
        assert!(matches!(Reply::decode(&bytes), Err(ReplyError::SizeTooLarge(_))));
        let mut bytes = header().encode();
        bytes[20] = b'x';
        assert!(matches!(Reply::decode(&bytes), Err(ReplyError::Md5(_))));
    }

    #[test]
    fn a_reply_answers_by_the_whole_name_or_its_last_component() {
        let answer = |name: &str| Header { name: name.into(), ..header() };
        assert!(answer("sub/a.txt").answers(&request("sub/a.txt")));
        assert!(answer("a.txt").answers(&request("sub/a.txt")));
        assert!(!answer("sub").answers(&request("sub/a.txt")));
        assert!(!answer("../a.txt").answers(&request("sub/a.txt")));
    }
}
