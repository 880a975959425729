//! A configured server that another user than ours can run.

use std::fs::{Permissions, set_permissions};
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use towline_testkit::deadline::poll;
use towline_testkit::process::{ServerProcess, Signal};

use crate::support::{Site, finish, run};

/// A user that every system has, and that owns nothing.
pub(super) const USER: &str = "nobody";

/// One share, of the folder that `server_files` is.
pub(super) const CONFIGURATION: &str = r#"
listen = ["127.0.0.1:0"]
state_dir = "kept"

[[share]]
name = "data"
path = "server_files"
"#;

/// A place that everybody may enter, with a configuration and a file in its share.
pub(super) struct Station {
    site: Site,
}

impl Deref for Station {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Station {
    pub(super) fn new() -> Self {
        let site = Site::new();
        set_mode(site.root(), 0o755);
        site.serve_file("leaflet", 100_000);
        let station = Self { site };
        station.configure(CONFIGURATION);
        station
    }

    /// Replaces the configuration as editors do: by a new file of its name.
    pub(super) fn configure(&self, text: &str) {
        std::fs::write(self.path("towline.toml~"), text).unwrap();
        std::fs::rename(self.path("towline.toml~"), self.path("towline.toml")).unwrap();
    }

    /// `towline serve` of the configuration, with these flags.
    pub(super) fn serve(&self, args: &[&str]) -> ServerProcess {
        ServerProcess::start(&mut self.command(args))
    }

    /// The command that does so.
    pub(super) fn command(&self, args: &[&str]) -> std::process::Command {
        let fixed = ["serve", "-c", "towline.toml"];
        self.towline(fixed.into_iter().chain(args.iter().copied()))
    }

    /// Why it does not serve.
    pub(super) fn refusal(&self, args: &[&str]) -> String {
        let ran = run(&mut self.command(args));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(!ran.stderr.contains("listening on"), "{ran:?}");
        ran.stderr
    }

    /// Fails unless the file of that name comes from the share.
    pub(super) fn assert_served(&self, server: &ServerProcess, name: &str) {
        let url = format!("{}/data/{name}", server.addr());
        let args = ["get", "--plain", "--no-sync", "--retries", "0", "-f", "-o", "got", &url];
        let ran = finish(self.towline(args).spawn().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:?}\n{:?}", server.lines());
    }
}

/// What a server says about reading its files again.
pub(super) fn reload(server: &mut ServerProcess) -> String {
    let before = server.lines().len();
    server.signal(Signal::HUP);
    poll("the reload", || {
        let lines = server.lines();
        let mut new = lines[before..].iter();
        let said = |line: &&String| line.contains("rules stay") || line.contains("read again");
        new.find(said).cloned()
    })
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub(super) fn set_owner(path: &Path, id: u32) {
    chown(path, Some(id), Some(id)).unwrap();
}
