//! What a person is told of servers that are new, that are known by something else from now on, and that are not
//! trusted.

use std::fmt;

use towline_client::trust::{Distrusted, Kept, News, Origin, Way};
use towline_proto::escape::{Escaped, EscapedPath};

/// What a server is known by, in words.
struct Described<'a>(&'a Way);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Way::Pin(pin) => write!(f, "the key {pin}"),
            Way::SystemAuthorities => write!(f, "a certificate by an authority of this system"),
            Way::AuthoritiesIn(path) => {
                write!(f, "a certificate by an authority in {}", EscapedPath(path))
            }
        }
    }
}

/// News of a server, as a message.
pub(crate) struct Announcement<'a>(pub(crate) &'a News);

impl Announcement<'_> {
    /// Whether a person must hear of it, who asked for nothing but errors.
    pub(crate) fn is_grave(&self) -> bool {
        let News { way, is_demanded, kept, .. } = self.0;
        match kept {
            Kept::New => !is_demanded && matches!(way, Way::Pin(_)),
            Kept::InsteadOf(_) | Kept::Not(_) => true,
        }
    }
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let News { place, way, is_demanded, kept } = self.0;
        let compare = match way {
            Way::Pin(_) if !is_demanded => "; compare it with what the server printed",
            _ => "",
        };
        let way = Described(way);
        match kept {
            Kept::New => {
                write!(f, "{place} is new: from now on it must have {way}{compare}")
            }
            Kept::InsteadOf(before) => {
                let before = Described(before);
                write!(f, "from now on {place} must have {way}, and not {before} as before")
            }
            Kept::Not(error) => {
                write!(f, "{place} has {way}{compare}. It cannot be remembered: {error}")
            }
        }
    }
}

/// What a person should know, check and do about a server that is not trusted.
pub(crate) struct Advice<'a>(pub(crate) &'a Distrusted);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distrusted { place, expected, origin, shown, reason } = self.0;
        writeln!(f, "{place} is not the server that is trusted")?;
        write!(f, "  expected: {}", Described(expected))?;
        match origin {
            Origin::Demanded => writeln!(f, " (asked for on the command line)")?,
            Origin::Kept(path) => writeln!(f, " (remembered in {})", EscapedPath(path))?,
            Origin::ThisRun => writeln!(f, " (shown earlier in this run)")?,
        }
        match shown {
            Some(pin) => write!(f, "  shown:    the key {pin}")?,
            None => write!(f, "  shown:    something else")?,
        }
        match reason {
            // Names in the certificate are part of it.
            Some(reason) => writeln!(f, " ({})", Escaped(reason.as_bytes()))?,
            None => writeln!(f)?,
        }
        writeln!(
            f,
            "Somebody may be listening in, or the server was set up anew. Ask whoever runs it"
        )?;
        writeln!(f, "which key it prints when it starts, by a way other than this network.")?;
        match origin {
            Origin::Kept(_) => write!(
                f,
                "If the key above is that one: towline pins forget {place}\n\
                 and get again; or get with --pin and that key."
            ),
            _ => write!(f, "If the key above is that one, get with --pin and that key."),
        }
    }
}
