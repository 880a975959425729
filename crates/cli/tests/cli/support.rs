//! A folder to run `towline` in, and what came of a run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;
use towline_testkit::deadline::poll;
use towline_testkit::port::ReservedPort;
use towline_testkit::process::ServerProcess;
use towline_testkit::tree::write_random_file;

/// A working directory of its own, with `server_files` in it and a home that is nobody's.
pub(crate) struct Site {
    folder: TempDir,
    /// What its servers listen on, also between one and the next.
    ports: Mutex<Vec<ReservedPort>>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), ports: Mutex::default() };
        std::fs::create_dir(site.path("server_files")).unwrap();
        site
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A path below the working directory.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Puts a file of `size` bytes among the served ones; the name seeds its content.
    pub(crate) fn serve_file(&self, name: &str, size: u64) {
        let path = self.path("server_files").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mix = |seed: u64, byte| seed.rotate_left(8) ^ u64::from(byte);
        let seed = name.bytes().fold(0, mix);
        write_random_file(path, size, seed).unwrap();
    }

    /// The binary under test, in this working directory.
    pub(crate) fn towline<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_towline"));
        command
            .args(args)
            .current_dir(self.root())
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// An address of loopback that is nobody else's as long as there is this site. Somebody listens there once a server
    /// of this site is told to.
    pub(crate) fn reserve(&self) -> SocketAddr {
        let port = ReservedPort::new();
        let address = port.addr();
        self.ports.lock().unwrap().push(port);
        address
    }

    /// A running `towline server` at an address of its own, where another can follow it.
    pub(crate) fn server(&self) -> ServerProcess {
        self.server_at(self.reserve())
    }

    /// A running `towline server` at an address that this site has reserved.
    pub(crate) fn server_at(&self, address: SocketAddr) -> ServerProcess {
        let port = address.port().to_string();
        ServerProcess::start(&mut self.towline(["server", &port, "--bind", "127.0.0.1"]))
    }

    /// `towline client NAME`, without waiting for the disk and with short waits between attempts.
    pub(crate) fn client(&self, name: &str, server: SocketAddr) -> Command {
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        let mut command = self.towline(["client", name, &host, &port, "--no-sync"]);
        command.args(["--initial-backoff", "20ms"]);
        command
    }

    /// Fails unless the client has the very bytes that the server has.
    pub(crate) fn assert_fetched(&self, name: &str) {
        let served = std::fs::File::open(self.path("server_files").join(name)).unwrap();
        let fetched = std::fs::File::open(self.path("client_downloads").join(name)).unwrap();
        assert!(same_content(served, fetched), "{name} differs from what was served");
    }

    /// The names in `client_downloads`, sorted.
    pub(crate) fn fetched_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("client_downloads")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// All that the logs say whose names begin with `word`.
    pub(crate) fn log(&self, word: &str) -> String {
        let entries = std::fs::read_dir(self.path("logs")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let ours =
            paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(word));
        ours.map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }
}

/// Whether two files have the same bytes, without holding both in memory.
pub(crate) fn same_content(mut one: std::fs::File, mut other: std::fs::File) -> bool {
    let hash =
        |file: &mut std::fs::File| towline_store::hashing::hash_file(file, |_| ()).unwrap().blake3;
    hash(&mut one) == hash(&mut other)
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The same command, run by a user with this mask for new files.
pub(crate) fn masked(umask: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask {umask} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap()).stderr(Stdio::piped());
    shell
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    finish(command.spawn().unwrap())
}

/// Waits for a running command's end.
pub(crate) fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until a running command is heard of in the log of a server or client.
pub(crate) fn wait_log(site: &Site, word: &str, part: &str) {
    poll(&format!("{part:?} in the {word} log"), || {
        let has_logs = site.path("logs").exists();
        (has_logs && site.log(word).contains(part)).then_some(())
    });
}

/// Whether everything must be tested, whatever it takes: set by the full checks, which install it.
pub(crate) fn is_full() -> bool {
    std::env::var_os("TOWLINE_FULL").is_some_and(|value| value == "1")
}

/// The system call that a line of `strace -f -o` begins, and what comes after its name.
///
/// None for what goes on or ends, for signals, and for `???`: a call of a thread that went with its process before
/// strace had learned which it was.
pub(crate) fn begun_call(line: &str) -> Option<(&str, &str)> {
    let (_, call) = line.split_once(char::is_whitespace)?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((name, rest))
}

/// Finds a program, or says why the test ends here; in the full checks its absence is a failure.
pub(crate) fn needs(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .success();
    assert!(found || !is_full(), "{program} is needed for the full checks");
    if !found {
        towline_testkit::skip(&format!("there is no {program}"));
    }
    found
}

/// Whether this is root, or says why the test ends here.
pub(crate) fn needs_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || !is_full(), "the full checks need root");
    if !is_root {
        towline_testkit::skip("this needs root");
    }
    is_root
}
