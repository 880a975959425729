//! Where a file is: `towline://HOST[:PORT]/PATH`, or the same without its scheme.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use towline_client::connect::{Address, Host};
use towline_proto::name::RemoteName;

use crate::cmd::serve::DEFAULT_PORT;

const SCHEME: &str = "towline://";

/// A file on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) address: Address,
    pub(crate) name: RemoteName,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        if let Some((scheme, _)) = rest.split_once("://") {
            return Err(format!("`{scheme}://` is not spoken here; use {SCHEME}HOST[:PORT]/PATH"));
        }
        let (place, path) = rest.split_once('/').ok_or("a URL is HOST[:PORT]/PATH")?;
        let address = address(place)?;
        let name: Vec<u8> = percent_decode_str(path).collect();
        let name = RemoteName::parse(&name).map_err(|error| error.to_string())?;
        Ok(Self { address, name })
    }
}

/// A server: `HOST[:PORT]`.
pub(crate) fn address(place: &str) -> Result<Address, String> {
    let (host, port) = split_port(place)?;
    let host: Host = host.parse().map_err(|error| format!("{error}"))?;
    Ok(Address { host, port })
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn split_port(place: &str) -> Result<(&str, u16), String> {
    let after_bracket = place.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = place[after_bracket..].find(':') else { return Ok((place, DEFAULT_PORT)) };
    let (host, port) = place.split_at(after_bracket + colon);
    match port[1..].parse() {
        Ok(0) | Err(_) => Err(format!("`{}` is not a port", &port[1..])),
        Ok(port) => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    fn parsed(text: &str) -> String {
        let url: Url = text.parse().unwrap();
        format!("{} {}", url.address, url.name)
    }

    #[test]
    fn the_scheme_and_the_port_may_be_left_out() {
        assert_eq!(parsed("towline://files.example/a/b.iso"), "files.example:9999 a/b.iso");
        assert_eq!(parsed("files.example:8080/a"), "files.example:8080 a");
        assert_eq!(parsed("[::1]/a"), "[::1]:9999 a");
        assert_eq!(parsed("towline://[::1]:80/a"), "[::1]:80 a");
    }

    #[test]
    fn odd_names_are_percent_encoded() {
        assert_eq!(parsed("h/a%20b%3F%FF"), "h:9999 a b?\\xff");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in [
            "",
            "host",
            "host/",
            "/path",
            "http://h/a",
            "h:0/a",
            "h:99999/a",
            "h:x/a",
            "h/../a",
            "h/%2e%2e/a",
            "a b/c",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }
}
