//! Which servers `towline get` trusts, what it remembers of them, and what it says when one is not the right one.

mod arguments;
mod authorities;
mod first_contact;
mod known_servers;
mod servers;
mod wire;

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use towline_testkit::process::ServerProcess;

use crate::support::{Ran, Site, run};

/// A served file, and the servers that a test starts.
struct Field {
    site: Site,
}

impl Deref for Field {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Field {
    fn new() -> Self {
        let site = Site::new();
        site.serve_file("file", 100_000);
        Self { site }
    }

    /// A server at an address of its own, with these arguments besides.
    fn serve(&self, args: &[&str]) -> ServerProcess {
        self.serve_at(self.site.reserve(), args)
    }

    /// A server on the port that `before` had, which is gone.
    fn serve_instead(&self, mut before: ServerProcess, args: &[&str]) -> ServerProcess {
        before.kill();
        self.serve_at(before.addr(), args)
    }

    fn serve_at(&self, address: SocketAddr, args: &[&str]) -> ServerProcess {
        let port = address.port().to_string();
        let fixed = ["serve", "server_files", "-b127.0.0.1", "-p", &port];
        ServerProcess::start(&mut self.towline(fixed.into_iter().chain(args.iter().copied())))
    }

    /// `towline get` of the file into `folder`.
    fn get(&self, server: impl Display, folder: &str, args: &[&str]) -> Command {
        let url = format!("{server}/file");
        let fixed = ["get", &url, "-d", folder, "--no-sync"];
        self.towline(fixed.into_iter().chain(args.iter().copied()))
    }

    /// Fetches the file, which must succeed, and returns what was said on standard error.
    fn gets(&self, server: SocketAddr, folder: &str, args: &[&str]) -> String {
        let ran = run(&mut self.get(server, folder, args));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(self.has_got(folder), "{ran:?}");
        ran.stderr
    }

    /// Fails to fetch the file, because the server is not trusted: nothing is written, and nothing is learned.
    fn is_refused(&self, server: impl Display, args: &[&str]) -> String {
        let known = self.known();
        let ran = run(&mut self.get(server, "refused", args));
        assert_eq!(ran.code, Some(4), "{ran:?}");
        assert!(!self.has_got("refused"));
        assert_eq!(self.known(), known);
        ran.stderr
    }

    fn has_got(&self, folder: &str) -> bool {
        let fetched = std::fs::read(self.path(folder).join("file"));
        fetched.is_ok_and(|got| got == std::fs::read(self.path("server_files/file")).unwrap())
    }

    /// `towline pins` with these arguments.
    fn pins(&self, args: &[&str]) -> Ran {
        run(&mut self.towline(std::iter::once("pins").chain(args.iter().copied())))
    }

    fn known_path(&self) -> PathBuf {
        self.path("state/towline/known-servers")
    }

    /// The text of the file of known servers, without comments.
    fn known(&self) -> String {
        let text = std::fs::read_to_string(self.known_path()).unwrap_or_default();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.to_owned() + "\n")
            .collect()
    }

    /// Puts this text in the place of the file of known servers.
    fn set_known(&self, text: &str) {
        std::fs::create_dir_all(self.known_path().parent().unwrap()).unwrap();
        std::fs::write(self.known_path(), text).unwrap();
    }
}

/// The pin that a server prints at its start.
fn pin(server: &ServerProcess) -> String {
    let line = server.wait_line("towline get --pin ");
    word_after(&line, "--pin ")
}

/// The word after `mark` in a line.
fn word_after(line: &str, mark: &str) -> String {
    let (_, rest) = line.split_once(mark).unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// How often anyone has connected to a server.
fn connections(server: &ServerProcess) -> usize {
    server.lines().iter().filter(|line| line.ends_with(": connected")).count()
}
