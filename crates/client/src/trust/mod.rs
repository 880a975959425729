//! Which server is the right one: what is demanded of it, what is known of it, and what it has proved
//! (SECURITY.md, "Trust").

mod known;
mod place;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use towline_net::tls::client::{AuthorityError, Connector, authorities_in, system_authorities};
use towline_net::tls::identity::Identity;
use towline_net::tls::{Expectation, Pin, ServerProof, Untrusted};
use towline_proto::native::message::Proof;

use self::known::Overwrite;
pub use self::known::{KnownServers, KnownServersError};
pub use self::place::{Place, PlaceError};
use crate::blocking::blocking;
use crate::connect::Address;

/// How a server proves that it is the right one; written as in the file of known servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By having the key with this pin.
    Pin(Pin),
    /// By a certificate of an authority that this system trusts.
    SystemAuthorities,
    /// By a certificate of an authority in this file, whose path is absolute.
    AuthoritiesIn(PathBuf),
}

/// What is demanded of a server by whoever asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// What it proved before. Of a server that is not known, anything: an authority's certificate if it has one, else
    /// its key.
    AsBefore,
    /// The key with this pin.
    Pin(Pin),
    /// A certificate by one of the authorities in this file, whose path is absolute.
    AuthoritiesIn(PathBuf),
}

/// Trust in one server. Clones share what was learned.
#[derive(Clone, Debug)]
pub struct Trust {
    inner: Arc<Inner>,
    /// What the server is told, once it has proved itself.
    login: Option<Arc<Proof>>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    demand: Demand,
    /// What was known at the start.
    known: Option<Way>,
    servers: KnownServers,
    connector: Connector,
    is_noted: AtomicBool,
}

/// A server that is to be told a secret, and of which nothing is known but the key that it has just shown.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{place} is new here, and is told no password or token before you trust its key: compare {pin} with what the server printed, and use --pin and that"
)]
pub struct Stranger {
    place: Place,
    pin: Pin,
}

/// Why it cannot be told what a server must prove.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// What is remembered cannot be read.
    #[error("cannot tell what {place} must prove: {source}")]
    Known {
        /// The server.
        place: Place,
        /// What is wrong.
        source: KnownServersError,
    },
    /// The authorities that must vouch for the server cannot be asked.
    #[error("{place} needs a certificate by an authority: {source}")]
    Authorities {
        /// The server.
        place: Place,
        /// What is wrong.
        source: AuthorityError,
    },
    /// No certificate can be for the server.
    #[error("no certificate can be for the name of {0}")]
    Name(Place),
}

/// A server that did not prove itself: it is not the right one, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} has not proved that it is the right server: it should do so by {expected}")]
pub struct Distrusted {
    /// The server.
    pub place: Place,
    /// How it should have proved itself.
    pub expected: Way,
    /// Who says so.
    pub origin: Origin,
    /// The key that it showed, as far as it is known.
    pub shown: Option<Pin>,
    /// What else is wrong with what it showed.
    pub reason: Option<String>,
}

/// Where an expectation comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Whoever asks.
    Demanded,
    /// This file of known servers.
    Kept(PathBuf),
    /// What the server proved before in this very run.
    ThisRun,
}

/// Something new about the trust in a server.
#[derive(Debug)]
pub struct News {
    /// The server.
    pub place: Place,
    /// How it has proved itself.
    pub way: Way,
    /// Whether that is what was demanded; otherwise nobody has compared it with anything.
    pub is_demanded: bool,
    /// What became of the news.
    pub kept: Kept,
}

/// What became of news about a server.
#[derive(Debug)]
pub enum Kept {
    /// It is remembered from now on.
    New,
    /// It is remembered instead of this.
    InsteadOf(Way),
    /// It could not be remembered.
    Not(KnownServersError),
}

impl Trust {
    /// Finds out what the server must prove; one that asks is shown this certificate. Blocks.
    pub fn establish(
        address: &Address,
        demand: Demand,
        servers: KnownServers,
        shown: Option<&Identity>,
    ) -> Result<Self, TrustError> {
        let place = Place::of(address);
        let known = match servers.look_up(&place) {
            Ok(known) => known,
            Err(source) => return Err(TrustError::Known { place, source }),
        };
        let expectation = match (&demand, &known) {
            (Demand::Pin(pin), _) | (Demand::AsBefore, Some(Way::Pin(pin))) => {
                Ok(Expectation::Pin(*pin))
            }
            (Demand::AuthoritiesIn(path), _)
            | (Demand::AsBefore, Some(Way::AuthoritiesIn(path))) => {
                authorities_in(path).map(Expectation::Authority)
            }
            (Demand::AsBefore, Some(Way::SystemAuthorities)) => {
                system_authorities().map(Expectation::Authority)
            }
            // A system without authorities knows servers by their keys.
            (Demand::AsBefore, None) => Ok(Expectation::Anything(system_authorities().ok())),
        };
        let expectation = match expectation {
            Ok(expectation) => expectation,
            Err(source) => return Err(TrustError::Authorities { place, source }),
        };
        let Ok(connector) = Connector::new(place.certified_host(), expectation) else {
            return Err(TrustError::Name(place));
        };
        let connector = match shown {
            Some(identity) => connector.showing(identity),
            None => connector,
        };
        let is_noted = AtomicBool::new(false);
        let inner = Arc::new(Inner { place, demand, known, servers, connector, is_noted });
        Ok(Self { inner, login: None })
    }

    /// The same, with a login for the server. There is no login without encryption, and none for a server that is not
    /// trusted: a key that is seen for the first time proves nothing yet.
    pub fn with_login(self, login: Proof) -> Self {
        Self { login: Some(Arc::new(login)), ..self }
    }

    /// What to tell a server that has shaken hands.
    pub(crate) fn login(&self) -> Result<Option<&Proof>, Stranger> {
        if self.login.is_some() {
            self.check_acquaintance()?;
        }
        Ok(self.login.as_deref())
    }

    /// Whether a server that has shaken hands may be told secrets: it may not where its key alone is known, and only since
    /// just now.
    pub(crate) fn check_acquaintance(&self) -> Result<(), Stranger> {
        let is_new = self.inner.demand == Demand::AsBefore && self.inner.known.is_none();
        match self.inner.connector.proof() {
            Some(ServerProof::Pin(pin)) if is_new => {
                Err(Stranger { place: self.inner.place.clone(), pin })
            }
            _ => Ok(()),
        }
    }

    /// What shakes hands with the server.
    pub(crate) fn connector(&self) -> &Connector {
        &self.inner.connector
    }

    /// Why the server that showed something else is not the right one.
    pub(crate) fn distrusted(&self, found: Untrusted) -> Box<Distrusted> {
        let (shown, reason, seen) = match found {
            Untrusted::AnotherKey { expected, shown } => (Some(shown), None, Way::Pin(expected)),
            Untrusted::NoAuthority { shown, reason } => {
                (Some(shown), Some(reason), Way::SystemAuthorities)
            }
            other => (None, Some(other.to_string()), Way::SystemAuthorities),
        };
        let Inner { place, demand, known, .. } = &*self.inner;
        let expected = match demand {
            Demand::Pin(pin) => Way::Pin(*pin),
            Demand::AuthoritiesIn(path) => Way::AuthoritiesIn(path.clone()),
            Demand::AsBefore => known.clone().unwrap_or(seen),
        };
        let (place, origin) = (place.clone(), self.origin());
        Box::new(Distrusted { place, expected, origin, shown, reason })
    }

    fn origin(&self) -> Origin {
        match (&self.inner.demand, self.inner.servers.path()) {
            (Demand::AsBefore, Some(path)) => Origin::Kept(path.to_owned()),
            (Demand::AsBefore, None) => Origin::ThisRun,
            _ => Origin::Demanded,
        }
    }

    /// Remembers how the server has proved itself, if that is news. Fails where another process has just remembered
    /// something else of it.
    pub(crate) async fn note(&self) -> Result<Option<News>, Box<Distrusted>> {
        if self.login().is_err() {
            return Ok(None);
        }
        let Some(proof) = self.inner.connector.proof() else { return Ok(None) };
        let way = self.way(proof);
        let is_noted = self.inner.is_noted.swap(true, Ordering::Relaxed);
        if is_noted || self.inner.known.as_ref() == Some(&way) {
            return Ok(None);
        }
        let trust = self.clone();
        blocking(move || trust.remember(way)).await
    }

    fn way(&self, proof: ServerProof) -> Way {
        match (proof, &self.inner.demand, &self.inner.known) {
            (ServerProof::Pin(pin), ..) => Way::Pin(pin),
            (ServerProof::Authority, Demand::AuthoritiesIn(path), _)
            | (ServerProof::Authority, _, Some(Way::AuthoritiesIn(path))) => {
                Way::AuthoritiesIn(path.clone())
            }
            (ServerProof::Authority, ..) => Way::SystemAuthorities,
        }
    }

    fn remember(&self, way: Way) -> Result<Option<News>, Box<Distrusted>> {
        let Inner { place, demand, servers, .. } = &*self.inner;
        let is_demanded = *demand != Demand::AsBefore;
        let overwrite = if is_demanded { Overwrite::Allowed } else { Overwrite::Never };
        let kept = match servers.remember(place, &way, overwrite) {
            Ok(None) => Kept::New,
            Ok(Some(before)) if before == way => return Ok(None),
            Ok(Some(before)) if is_demanded => Kept::InsteadOf(before),
            Ok(Some(expected)) => {
                let shown = if let Way::Pin(pin) = way { Some(pin) } else { None };
                let reason = Some("another run has come to know it otherwise just now".into());
                let (place, origin) = (place.clone(), self.origin());
                let distrusted = Distrusted { place, expected, origin, shown, reason };
                return Err(Box::new(distrusted));
            }
            // Whoever says each time what is demanded needs nothing remembered.
            Err(KnownServersError::Nowhere) if is_demanded => return Ok(None),
            Err(error) => Kept::Not(error),
        };
        Ok(Some(News { place: place.clone(), way, is_demanded, kept }))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin(pin) => write!(f, "pin {pin}"),
            Self::SystemAuthorities => f.write_str("ca system"),
            Self::AuthoritiesIn(path) => write!(f, "ca {}", path.to_string_lossy()),
        }
    }
}

/// Why some text says no way.
#[derive(Debug, thiserror::Error)]
#[error("a server is known by `pin sha256:HEX`, by `ca system`, or by `ca` and an absolute path")]
pub struct WayError;

impl std::str::FromStr for Way {
    type Err = WayError;

    fn from_str(text: &str) -> Result<Self, WayError> {
        match text.split_once(' ') {
            Some(("pin", pin)) => pin.trim().parse().map(Self::Pin).map_err(|_| WayError),
            Some(("ca", "system")) => Ok(Self::SystemAuthorities),
            Some(("ca", path)) if path.starts_with('/') => Ok(Self::AuthoritiesIn(path.into())),
            _ => Err(WayError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Demand, Kept, KnownServers, Trust, Way};
    use crate::connect::Address;

    fn pin(digits: &str) -> Way {
        format!("pin sha256:{}", digits.repeat(32)).parse().unwrap()
    }

    #[test]
    fn of_two_first_contacts_with_different_keys_the_second_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let servers = KnownServers::new(Some(folder.path().join("known-servers")));
        let address = Address { host: "files.example".parse().unwrap(), port: 1 };
        let newcomer =
            || Trust::establish(&address, Demand::AsBefore, servers.clone(), None).unwrap();
        let (first, second, third) = (newcomer(), newcomer(), newcomer());
        let news = first.remember(pin("0a")).unwrap().unwrap();
        assert!(matches!(news.kept, Kept::New), "{news:?}");
        let distrusted = second.remember(pin("0b")).unwrap_err();
        assert_eq!(distrusted.expected, pin("0a"));
        assert!(third.remember(pin("0a")).unwrap().is_none(), "that is no news any more");
        assert_eq!(servers.list().unwrap().len(), 1);
    }
}
