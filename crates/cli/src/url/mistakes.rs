//! What somebody most likely meant who wrote something else than a URL. Pure.

use towline_client::connect::{Host, HostError};
use towline_proto::name::NameError;

use super::{PlaceError, SCHEME};

/// Why some text is no URL, or no server, and how it is written properly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mistake {
    #[error("nothing is there; a URL is HOST[:PORT]/PATH")]
    Nothing,
    #[error("`{scheme}://` is another protocol; from a towline server there it is {SCHEME}{rest}")]
    Scheme { scheme: String, rest: String },
    #[error("the classic protocol is spoken by `towline client FILENAME [HOST] [PORT]`")]
    Classic,
    #[error("that is a path on this machine; a URL begins with a server: HOST[:PORT]/PATH")]
    Local,
    #[error(
        "a URL is HOST[:PORT]/PATH: `{0}/PATH` is a file or folder there, `{0}/` all that is served"
    )]
    NoPath(String),
    #[error("that is how scp writes it; here it is {0}")]
    Scp(String),
    #[error("that is how rsync writes it; here it is {0}")]
    Rsync(String),
    #[error(
        "a URL names no user: it is {rest}, after `towline login -u {user} {place}` where the server asks who you are"
    )]
    User { user: String, place: String, rest: String },
    #[error("an IPv6 address is written in brackets: {0}")]
    Bracketless(String),
    #[error("`{0}` is not a port; that is a number from 1 to 65535")]
    Port(String),
    #[error("{0}; a URL is HOST[:PORT]/PATH")]
    Host(HostError),
    #[error("only the server is named here, without a path: {0}")]
    PathOfServer(String),
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("the pattern `{0}` is not UTF-8")]
    Pattern(String),
}

/// What is behind the scheme, which may be left out.
pub(super) fn without_scheme(text: &str) -> Result<&str, Mistake> {
    match text.split_once("://") {
        None => Ok(text),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("towline") => Ok(rest),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("classic") => Err(Mistake::Classic),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("file") => Err(Mistake::Local),
        Some((scheme, rest)) => {
            let place = rest.split('/').next().unwrap_or(rest);
            let before_place = place.rfind('@').map_or(0, |at| at + 1);
            let (user, rest) = rest.split_at(before_place);
            let rest = if user.contains('/') { "HOST[:PORT]/PATH" } else { rest };
            Err(Mistake::Scheme { scheme: scheme.to_owned(), rest: rest.to_owned() })
        }
    }
}

/// Whether it can begin with a server.
pub(super) fn check_is_remote(text: &str) -> Result<(), Mistake> {
    let first = text.split('/').next().unwrap_or_default();
    match first {
        _ if text.is_empty() => Err(Mistake::Nothing),
        "" | "." | ".." => Err(Mistake::Local),
        _ if first.starts_with('~') => Err(Mistake::Local),
        _ => Ok(()),
    }
}

/// What is wrong with text that has no slash.
pub(super) fn without_path(text: &str) -> Mistake {
    match super::split_port(text) {
        Ok(_) => Mistake::NoPath(text.to_owned()),
        Err(error) => in_place(text, None, error),
    }
}

/// What is wrong with a server, and the path behind it where there is one.
pub(super) fn in_place(place: &str, path: Option<&str>, error: PlaceError) -> Mistake {
    let with_path = |place: &str| match path {
        None => place.to_owned(),
        Some(path) => format!("{place}/{path}"),
    };
    if let Some((user, place)) = place.rsplit_once('@') {
        // A password that follows it is shown to nobody.
        let user = user.split(':').next().unwrap_or(user);
        // scp's colon may be there as well.
        let (host, folder) = match place.split_once(':') {
            Some((host, folder)) if folder.parse::<u16>().is_err() => (host, folder),
            _ => (place, ""),
        };
        let rest =
            [host, folder, path.unwrap_or_default()].into_iter().filter(|part| !part.is_empty());
        let rest = rest.collect::<Vec<_>>().join("/");
        return Mistake::User { user: user.to_owned(), place: host.to_owned(), rest };
    }
    match &in_brackets(place)[..] {
        [whole, with_port] => {
            let (whole, with_port) = (with_path(whole), with_path(with_port));
            return Mistake::Bracketless(format!("{whole}, or {with_port} with a port"));
        }
        [one] => return Mistake::Bracketless(with_path(one)),
        _ => {}
    }
    if let Some((host, module)) = place.split_once("::")
        && !host.is_empty()
        && place.bytes().any(|byte| !byte.is_ascii_hexdigit() && !b":.[]".contains(&byte))
    {
        return Mistake::Rsync(with_path(&format!("{host}/{module}")));
    }
    if place.matches(':').count() > 1 && !place.contains(']') {
        return Mistake::Bracketless(with_path("[ADDRESS]:PORT"));
    }
    match error {
        PlaceError::Host(error) => Mistake::Host(error),
        PlaceError::Port(port)
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() =>
        {
            Mistake::Port(port)
        }
        PlaceError::Port(folder) => {
            let host = place.split(':').next().unwrap_or_default();
            let parts = [host, &folder, path.unwrap_or_default().trim_start_matches('/')];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            Mistake::Scp(parts.collect::<Vec<_>>().join("/"))
        }
    }
}

/// What IPv6 addresses without brackets can mean: as they are, and with a port at their end.
fn in_brackets(place: &str) -> Vec<String> {
    let is_address = |text: &str| text.contains(':') && text.parse::<Host>().is_ok();
    let bare = place.trim_start_matches('[');
    let whole = is_address(bare).then(|| format!("[{bare}]"));
    let with_port = bare.rsplit_once(':').filter(|(address, port)| {
        is_address(address) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let with_port = with_port.map(|(address, port)| format!("[{address}]:{port}"));
    whole.into_iter().chain(with_port).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Url, address};

    fn told(text: &str) -> String {
        text.parse::<Url>().unwrap_err().to_string()
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_told_with_them() {
        for (text, proper) in [
            ("::1/file", "[::1]/file"),
            ("::1", "[::1]"),
            ("::1/", "[::1]/"),
            ("::1:19999/a", "[::1]:19999/a"),
            ("[::1:19999/a", "[::1]:19999/a"),
            ("fe80::1:9999/x", "[fe80::1:9999]/x, or [fe80::1]:9999/x with a port"),
            ("fe80::1%eth0/x", "[fe80::1%eth0]/x"),
            ("fe80::1%eth0:80/x", "[fe80::1%eth0]:80/x"),
        ] {
            assert_eq!(told(text), format!("an IPv6 address is written in brackets: {proper}"));
        }
        assert!(address("::1").unwrap_err().to_string().ends_with("brackets: [::1]"));
    }

    #[test]
    fn a_user_is_told_to_log_in() {
        for text in ["ann@h:80/a/b", "towline://ann@h:80/a/b"] {
            let told = told(text);
            assert!(told.contains("it is h:80/a/b, after `towline login -u ann h:80`"), "{told}");
        }
        assert!(address("ann@h").unwrap_err().to_string().contains("`towline login -u ann h`"));
    }

    #[test]
    fn how_scp_writes_it_is_told_as_it_is_here() {
        for (text, proper) in [
            ("host:file", "host/file"),
            ("host:/srv/file", "host/srv/file"),
            ("host:dir/file", "host/dir/file"),
        ] {
            assert_eq!(told(text), format!("that is how scp writes it; here it is {proper}"));
        }
        let told = told("ann@host:dir/file");
        assert!(told.contains("it is host/dir/file, after `towline login -u ann host`"), "{told}");
    }

    #[test]
    fn how_rsync_writes_it_is_told_as_it_is_here() {
        for (text, proper) in [("host::module/a", "host/module/a"), ("host::module", "host/module")]
        {
            assert_eq!(told(text), format!("that is how rsync writes it; here it is {proper}"));
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown_again() {
        for text in ["ann:secret@h/a", "http://ann:secret@h/a", "ann:sec@ret@h/a"] {
            let told = told(text);
            assert!(!told.contains("sec") && told.contains("h/a"), "{told}");
        }
    }

    #[test]
    fn another_protocol_is_named_with_what_to_write() {
        for text in ["http://h/a", "https://h/a", "sftp://ann@h/a", "towlin://h/a"] {
            assert!(told(text).ends_with("it is towline://h/a"), "{text}");
        }
        assert!(told("classic://h/a").contains("towline client"));
        assert_eq!("TOWLINE://h/a".parse(), "h/a".parse::<Url>());
    }

    #[test]
    fn a_local_path_is_told_from_a_url() {
        for text in ["/srv/a", "file:///srv/a", "./a", "../a", "~/a", ".", "..", "~"] {
            assert!(told(text).contains("on this machine"), "{text}");
        }
    }

    #[test]
    fn a_server_alone_is_told_what_a_path_would_mean() {
        for text in ["host", "host:80", "[::1]:80", "127.0.0.1"] {
            let told = told(text);
            assert!(told.contains(&format!("`{text}/` all that is served")), "{told}");
        }
    }

    #[test]
    fn a_server_may_have_a_scheme_and_no_path() {
        assert_eq!(address("towline://h:80/"), address("h:80"));
        assert!(address("h:80/file").unwrap_err().to_string().ends_with("without a path: h:80"));
    }

    #[test]
    fn what_is_no_port_is_named() {
        for text in ["h:0/a", "h:99999/a"] {
            assert!(told(text).contains("is not a port"), "{text}");
        }
    }
}
