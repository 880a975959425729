//! How a client command is told which server is the right one, and what it says of that.

use std::fmt;
use std::path::PathBuf;

use towline_client::connect::Address;
use towline_client::trust::{
    Demand, Distrusted, Kept, KnownServers, News, Origin, Trust, TrustError, Way,
};
use towline_net::tls::Pin;
use towline_net::tls::client::authorities_in;
use towline_proto::escape::Escaped;

use crate::cmd::serve::default_state_dir;
use crate::exit::{Exit, Failure};

/// The known servers' file, in the state folder.
const KNOWN_SERVERS: &str = "known-servers";

/// Shown in the help of commands that speak to servers.
pub(crate) const TRUST: &str = "\
Everything is encrypted, and the server must prove that it is the right one: by its key (--pin), or by
the certificate of an authority (--ca, or one that this system trusts). Where nothing is given, what it
proves the first time is remembered, and anything else is refused from then on; see `towline pins`.";

/// Which server is the right one.
#[derive(clap::Args, Clone, Debug)]
#[group(multiple = false)]
pub(crate) struct TrustArgs {
    /// The server must have this key, as it printed when it started; remembered
    #[arg(long, value_name = "sha256:HEX")]
    pin: Option<Pin>,
    /// The server must have a certificate by an authority in this file (PEM); remembered
    #[arg(long, value_name = "FILE", value_parser = authorities)]
    ca: Option<PathBuf>,
    /// Without encryption, for networks that you trust
    #[arg(long)]
    plain: bool,
}

impl TrustArgs {
    /// What the server must prove; `None` without encryption. Blocks.
    pub(crate) fn establish(&self, address: &Address) -> Result<Option<Trust>, Failure> {
        let demand = match (self.pin, &self.ca) {
            _ if self.plain => return Ok(None),
            (Some(pin), _) => Demand::Pin(pin),
            (_, Some(path)) => Demand::AuthoritiesIn(path.clone()),
            (None, None) => Demand::AsBefore,
        };
        let trust = Trust::establish(address, demand, known_servers());
        trust.map(Some).map_err(|error| {
            // What cannot be told is not trusted: whoever looks at the code of a refusal looks at this too.
            let exit = match error {
                TrustError::Name(_) => Exit::Other,
                _ => Exit::Refused,
            };
            Failure::new(exit, anyhow::anyhow!("{error}"))
        })
    }
}

/// The servers that this user's commands know.
pub(crate) fn known_servers() -> KnownServers {
    KnownServers::new(default_state_dir().map(|folder| folder.join(KNOWN_SERVERS)))
}

/// The absolute path of a file with authorities that can be used.
fn authorities(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    authorities_in(&path).map_err(|error| error.to_string())?;
    std::path::absolute(path).map_err(|error| error.to_string())
}

/// What a server is known by, in words.
struct Described<'a>(&'a Way);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Way::Pin(pin) => write!(f, "the key {pin}"),
            Way::SystemAuthorities => write!(f, "a certificate by an authority of this system"),
            Way::AuthoritiesIn(path) => {
                write!(f, "a certificate by an authority in {}", path.display())
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
            Origin::Kept(path) => writeln!(f, " (remembered in {})", path.display())?,
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
