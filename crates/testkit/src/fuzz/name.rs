//! Names, and text that is printed whatever it is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use towline_proto::escape::Escaped;
use towline_proto::limits::{COMPONENT_BYTES_MAX, NAME_BYTES_MAX, NAME_DEPTH_MAX};
use towline_proto::name::{NameError, RemoteName, part_name};

use super::is_printable;

/// A name that parses is the bytes it was parsed from, stays below the folder that it is joined to, and
/// has a part's name that fits and is nobody's. Any bytes can be printed, and read back from that.
///
/// # Panics
/// Where that does not hold.
pub fn name(bytes: &[u8]) {
    check_escaped(bytes);
    let Ok(name) = RemoteName::parse(bytes) else {
        return;
    };
    assert_eq!(name.as_bytes(), bytes);
    assert!(bytes.len() <= NAME_BYTES_MAX && name.components().count() <= NAME_DEPTH_MAX);
    assert_eq!(name.to_string(), Escaped(bytes).to_string());
    check_path(&name);
    check_part(name.file_name());
}

fn check_path(name: &RemoteName) {
    let path = Path::new("folder").join(OsStr::from_bytes(name.as_bytes()));
    let below = path.strip_prefix("folder").expect("the name is relative");
    // A path's own components skip what a name may not have, such as `.`.
    let components: Vec<_> = below.components().collect();
    assert_eq!(components.len(), name.components().count());
    for (component, of_name) in components.into_iter().zip(name.components()) {
        assert_eq!(component, Component::Normal(OsStr::from_bytes(of_name)));
        assert!(of_name.len() <= COMPONENT_BYTES_MAX);
    }
    let (folders, last) = name.split_last();
    let joined: Vec<_> = folders.chain([last]).collect();
    assert_eq!(joined.join(&b'/'), name.as_bytes());
}

fn check_part(file_name: &[u8]) {
    let part = part_name(file_name, "0123456789abcdef");
    assert!(part.len() <= COMPONENT_BYTES_MAX);
    assert_eq!(RemoteName::parse(&part), Err(NameError::Reserved));
}

fn check_escaped(bytes: &[u8]) {
    let text = Escaped(bytes).to_string();
    assert!(is_printable(&text), "{text:?}");
    assert_eq!(unescape(&text), bytes, "{text:?} is ambiguous");
}

/// Reads back what [`Escaped`] wrote.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (kind, after) = escape.split_at(1);
        rest = after;
        match kind {
            "n" => bytes.push(b'\n'),
            "r" => bytes.push(b'\r'),
            "t" => bytes.push(b'\t'),
            "\\" => bytes.push(b'\\'),
            "x" => {
                let (digits, after) = rest.split_at(2);
                bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                rest = after;
            }
            "u" => {
                let digits = rest.strip_prefix('{').expect("a brace opens");
                let (digits, after) = digits.split_once('}').expect("a brace closes");
                let code = u32::from_str_radix(digits, 16).expect("digits");
                let character = char::from_u32(code).expect("a character's code");
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            other => panic!("\\{other} is no escape"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
