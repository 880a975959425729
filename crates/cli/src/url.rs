//! Where files are: `towline://HOST[:PORT]/PATH`, or the same without its scheme.

mod mistakes;

use std::fmt::{self, Write as _};
use std::str::FromStr;

use percent_encoding::{
    AsciiSet, CONTROLS, percent_decode, percent_decode_str, percent_encode, utf8_percent_encode,
};
use towline_client::connect::{Address, HostError};
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Rule, Verdict};

pub(crate) use self::mistakes::Mistake;

/// The original classic system's port.
pub(crate) const DEFAULT_PORT: u16 = 9_999;

const SCHEME: &str = "towline://";

/// What is percent-encoded in a URL, as all is that is not ASCII.
const ODD: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b'`');

/// What makes a pattern of the last component, unless it is percent-encoded.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Files on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) address: Address,
    /// A file or folder; `None` for the served folder itself.
    pub(crate) path: Option<RemoteName>,
    /// Whether the path ends in a slash, and so stands for what is in a folder.
    pub(crate) has_slash: bool,
    /// What names in that folder must match.
    pub(crate) pattern: Option<String>,
}

impl FromStr for Url {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let rest = mistakes::without_scheme(text)?;
        mistakes::check_is_remote(text)?;
        let Some((place, path)) = rest.split_once('/') else {
            return Err(mistakes::without_path(rest));
        };
        let address =
            split_port(place).map_err(|error| mistakes::in_place(place, Some(path), error))?;
        let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
        let (path, pattern) = if last.contains(WILDCARDS) {
            (folder, Some(pattern(last)?))
        } else {
            let stripped = path.strip_suffix('/').filter(|stripped| !stripped.is_empty());
            (stripped.unwrap_or(path), None)
        };
        let has_slash = last.is_empty();
        let name: Vec<u8> = percent_decode_str(path).collect();
        let path = match &name[..] {
            b"" => None,
            name => Some(RemoteName::parse(name)?),
        };
        Ok(Self { address, path, has_slash, pattern })
    }
}

/// As it can be parsed again, with its scheme and port.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, path, has_slash, pattern } = self;
        write!(f, "{SCHEME}{address}/")?;
        if let Some(path) = path {
            write!(f, "{}", percent_encode(path.as_bytes(), ODD))?;
        }
        if path.is_some() && (*has_slash || pattern.is_some()) {
            f.write_char('/')?;
        }
        pattern.as_ref().map_or(Ok(()), |pattern| write_pattern(f, pattern))
    }
}

/// The reverse of [`pattern`].
fn write_pattern(f: &mut fmt::Formatter<'_>, pattern: &str) -> fmt::Result {
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                // Bare, some of these would mean something.
                for byte in rest.next().unwrap_or('\\').encode_utf8(&mut [0; 4]).bytes() {
                    write!(f, "%{byte:02X}")?;
                }
            }
            wildcard if WILDCARDS.contains(&wildcard) => f.write_char(wildcard)?,
            other => write!(f, "{}", utf8_percent_encode(other.encode_utf8(&mut [0; 4]), ODD))?,
        }
    }
    Ok(())
}

/// The URL of a file that is fetched by the classic protocol.
pub(crate) fn classic(address: &Address, name: &RemoteName) -> String {
    format!("classic://{address}/{}", percent_encode(name.as_bytes(), ODD))
}

impl Url {
    /// What is safe to print.
    pub(crate) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| self.address.to_string(), ToString::to_string)
    }

    /// What belongs to a listing of the folder: what matches the pattern, folders included.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let Some(pattern) = &self.pattern else { return Vec::new() };
        let all = Rule { verdict: Verdict::Exclude, pattern: "/*".into() };
        vec![all, Rule { verdict: Verdict::Include, pattern: format!("/{pattern}") }]
    }
}

/// A pattern as the rules of listings have it: what is percent-encoded is taken literally.
fn pattern(text: &str) -> Result<String, Mistake> {
    let mut pattern = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let mut decoded = percent_decode(rest);
        match decoded.next() {
            Some(literal) if literal != *first => {
                if literal.is_ascii() {
                    pattern.push(b'\\');
                }
                pattern.push(literal);
                rest = &rest["%XX".len()..];
            }
            _ => {
                pattern.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(pattern).map_err(|_| Mistake::Pattern(text.to_owned()))
}

/// The text of a URL or server without a password where it has one; `None` where it has none.
pub(crate) fn without_password(text: &str) -> Option<String> {
    let (before, place) = text.rsplit_once('@')?;
    let user_from = before.find("://").map_or(0, |scheme_end| scheme_end + "://".len());
    let (user, _password) = before[user_from..].split_once(':')?;
    Some(format!("{}{user}:…@{place}", &before[..user_from]))
}

/// A server: `HOST[:PORT]`.
pub(crate) fn address(text: &str) -> Result<Address, Mistake> {
    let place = mistakes::without_scheme(text)?;
    let place = place.strip_suffix('/').unwrap_or(place);
    if let Some((place, _)) = place.split_once('/') {
        return Err(Mistake::PathOfServer(place.to_owned()));
    }
    split_port(place).map_err(|error| mistakes::in_place(place, None, error))
}

/// Why some text is not `HOST[:PORT]`.
enum PlaceError {
    Host(HostError),
    Port(String),
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn split_port(place: &str) -> Result<Address, PlaceError> {
    let after_bracket = place.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match place[after_bracket..].find(':') {
        None => (place, DEFAULT_PORT),
        Some(colon) => {
            let (host, port) = place.split_at(after_bracket + colon);
            let number = port[1..].parse().ok().filter(|port| *port != 0);
            (host, number.ok_or_else(|| PlaceError::Port(port[1..].to_owned()))?)
        }
    };
    Ok(Address { host: host.parse().map_err(PlaceError::Host)?, port })
}

#[cfg(test)]
mod tests {
    use super::{Url, without_password};

    /// Address, path, a slash where it has one, and the pattern.
    fn parsed(text: &str) -> String {
        let Url { address, path, has_slash, pattern } = text.parse().unwrap();
        let path = path.map_or_else(String::new, |path| path.to_string());
        let slash = if has_slash { "/" } else { "" };
        format!("{address} {path}{slash}{}", pattern.map_or(String::new(), |p| format!(" {p}")))
    }

    #[test]
    fn the_scheme_and_the_port_may_be_left_out() {
        assert_eq!(parsed("towline://files.example/a/b.iso"), "files.example:9999 a/b.iso");
        assert_eq!(parsed("files.example:8080/a"), "files.example:8080 a");
        assert_eq!(parsed("[::1]/a"), "[::1]:9999 a");
        assert_eq!(parsed("towline://[::1]:80/a"), "[::1]:80 a");
        assert_eq!(parsed("[fe80::1%eth0]:80/a"), "[fe80::1%eth0]:80 a");
    }

    #[test]
    fn odd_names_are_percent_encoded() {
        assert_eq!(parsed("h/a%20b%3F%FF"), "h:9999 a b?\\xff");
        assert_eq!(parsed("h/100%25/%2A"), "h:9999 100%/*");
    }

    #[test]
    fn a_slash_at_the_end_is_told_apart() {
        assert_eq!(parsed("h/"), "h:9999 /");
        assert_eq!(parsed("h/a/b"), "h:9999 a/b");
        assert_eq!(parsed("h/a/b/"), "h:9999 a/b/");
    }

    #[test]
    fn the_last_component_may_be_a_pattern() {
        assert_eq!(parsed("h/logs/*.gz"), "h:9999 logs *.gz");
        assert_eq!(parsed("h/a[0-9]?"), "h:9999  a[0-9]?");
        assert_eq!(parsed("h/a/%5Bx%5D*%20%C3%A9"), "h:9999 a \\[x\\]*\\ é");
        assert!("h/*/a".parse::<Url>().unwrap().pattern.is_none(), "only the last one");
    }

    #[test]
    fn what_is_written_means_the_same() {
        for text in
            ["h/", "h/a", "h/a/", "[::1]:80/a%20b%3F%FF/c%25", "h/%2A%5B", "h/a/%5Bx%5D*%20é?"]
        {
            let url: Url = text.parse().unwrap();
            let written = url.to_string();
            assert!(written.starts_with("towline://") && written.is_ascii(), "{written}");
            assert_eq!(written.parse(), Ok(url), "{written}");
        }
    }

    #[test]
    fn a_password_is_left_out_of_what_is_shown() {
        for (text, shown) in [
            ("ann:secret@h/a", Some("ann:…@h/a")),
            ("http://ann:se:c/r@et@h/a", Some("http://ann:…@h/a")),
            ("ann@h/a", None),
            ("towline://h:80/a", None),
        ] {
            assert_eq!(without_password(text).as_deref(), shown);
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in [
            "",
            "host",
            "/path",
            "http://h/a",
            "h:0/a",
            "h:99999/a",
            "h:x/a",
            "h/../a",
            "h/%2e%2e/a",
            "h//",
            "h/a//",
            "a b/c",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }
}
