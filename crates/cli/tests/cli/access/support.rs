//! A configured server with users.

use std::ops::Deref;
use std::process::{Command, Stdio};

use towline_testkit::process::ServerProcess;

use crate::support::{Ran, Site, finish, run};

/// Two shares and ann, who alone may read `lab`; everybody may read `open`.
pub(crate) const CONFIGURATION: &str = r#"
listen = ["127.0.0.1:0"]
state_dir = "state/server"

[[share]]
name = "lab"
path = "server_files/lab"

[[share]]
name = "open"
path = "server_files/open"

[[user]]
name = "ann"

[[rule]]
path = "/lab"
who = ["user:ann"]
allow = ["read", "list"]

[[rule]]
path = "/open"
who = ["anonymous"]
allow = ["read", "list"]
"#;

/// A place with a configuration, and files in its shares.
pub(crate) struct Office {
    site: Site,
}

impl Deref for Office {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Office {
    pub(crate) fn new() -> Self {
        let site = Site::new();
        site.serve_file("lab/results", 300_000);
        site.serve_file("open/leaflet", 1_000);
        let office = Self { site };
        office.configure(CONFIGURATION);
        office
    }

    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.path("towline.toml"), text).unwrap();
    }

    pub(crate) fn serve(&self) -> ServerProcess {
        ServerProcess::start(&mut self.towline(["serve", "-c", "towline.toml"]))
    }

    /// A new token of ann's, with these flags.
    pub(crate) fn new_token(&self, args: &[&str]) -> String {
        let fixed = ["token", "new", "ann", "-c", "towline.toml"];
        let ran = run(&mut self.towline(fixed.into_iter().chain(args.iter().copied())));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.trim().to_owned()
    }

    /// Runs a command that reads a secret from its standard input.
    pub(crate) fn tell(&self, args: &[&str], secret: &str) -> Ran {
        let file = self.path("secret");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let input = std::fs::File::open(&file).unwrap();
        let mut command = self.towline(args.iter().copied());
        finish(command.stdin(Stdio::from(input)).spawn().unwrap())
    }

    /// `towline get` of a path on the server, whose key is known.
    pub(crate) fn get(&self, server: &ServerProcess, path: &str, args: &[&str]) -> Command {
        let (url, pin) = (format!("{}/{path}", server.addr()), pin(server));
        let fixed = ["get", "--pin", &pin, "--no-sync", "--retries", "0", "-d", "got", &url];
        self.towline(fixed.into_iter().chain(args.iter().copied()))
    }
}

/// The pin that a server told.
pub(crate) fn pin(server: &ServerProcess) -> String {
    let line = server.wait_line("towline get --pin ");
    let (_, rest) = line.split_once("--pin ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}
