//! A server's host and port in one spelling, whatever the user's was.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::connect::{Address, Host, split_zone};

/// A server as it is remembered: names in lower case without a dot at their end, addresses in their canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    host: String,
    port: u16,
}

/// Why some text is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a server: write it as HOST:PORT")]
pub struct PlaceError(String);

impl Place {
    /// The place at an address.
    pub fn of(address: &Address) -> Self {
        let host = address.host.as_str();
        let host = match (host.parse::<IpAddr>(), split_zone(host)) {
            (Ok(address), _) => address.to_canonical().to_string(),
            (_, Some((address, zone))) => format!("{address}%{zone}"),
            (_, None) => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
        };
        Self { host, port: address.port }
    }

    /// What a certificate can be for: the host, without brackets, and without a zone, which means something only here.
    pub(super) fn certified_host(&self) -> &str {
        self.host.split_once('%').map_or(&self.host, |(address, _)| address)
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            // Without its brackets, an IPv6 address ends in what looks like a port.
            let is_ambiguous = host.contains(':') && !host.starts_with('[');
            let host: Host = host.parse().ok().filter(|_| !is_ambiguous)?;
            Some(Self::of(&Address { host, port: port.parse().ok()? }))
        };
        parse().ok_or_else(|| PlaceError(text.to_owned()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn one_server_has_one_spelling() {
        for (text, spelling) in [
            ("Files.Example:9999", "files.example:9999"),
            ("files.example.:9999", "files.example:9999"),
            ("[0:0::1]:9999", "[::1]:9999"),
            ("[2001:DB8::00A]:80", "[2001:db8::a]:80"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ("[FE80::0:1%Lan0]:80", "[fe80::1%Lan0]:80"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), spelling);
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for bad in ["", "host", "host:", ":1", "host:x", "host:99999", "::1:9999", "a b:1"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
