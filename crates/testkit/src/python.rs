//! The Python peers of `tests/peers`: programs written from the classic system's document alone.
//!
//! ```no_run
//! use towline_testkit::python::Python;
//! use towline_testkit::skip;
//!
//! # fn example(dir: &std::path::Path) {
//! let Some(python) = Python::find() else { return skip("there is no python3") };
//! let server = python.server(dir);
//! let status = python.client(dir, "a.txt", "127.0.0.1", server.addr().port()).status();
//! # }
//! ```

use std::env;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::process::{Lines, Running, Signal};

/// How many free ports are tried: between choosing one and listening on it, another process may
/// take it.
const PORTS_TRIED_MAX: u32 = 10;

/// A Python 3 interpreter.
#[derive(Debug, Clone)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// The interpreter that the environment variable `PYTHON` names, by a path or a name in `PATH`,
    /// or else `python3` in `PATH`. `None` where there is none.
    pub fn find() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let named = env::var_os("PYTHON").and_then(|name| look_up(&name, &path));
        let interpreter = named.or_else(|| look_up(OsStr::new("python3"), &path))?;
        Some(Self { interpreter })
    }

    /// The path of the interpreter.
    pub fn interpreter(&self) -> &Path {
        &self.interpreter
    }

    /// Starts `server.py` in the working directory `dir`, on a free port, and waits until it
    /// accepts. It serves `dir/server_files`, which it makes where need be.
    ///
    /// # Panics
    /// When it does not start; the message shows what it said.
    pub fn server(&self, dir: &Path) -> PythonServer {
        let mut said = Vec::new();
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port();
            let mut command = self.script("server.py", dir);
            command.arg(port.to_string()).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            let mut running = Running::start(&mut command);
            let lines = Lines::read(running.child.stdout.take().expect("it is piped"));
            // It says so after `listen`. A connection would not prove as much: it may reach a
            // stranger.
            if lines.wait("listening on port").is_some() {
                let addr = (Ipv4Addr::LOCALHOST, port).into();
                return PythonServer { running, lines, addr };
            }
            said = lines.all();
        }
        panic!("server.py does not start:\n{}", said.join("\n"));
    }

    /// The command that runs `client.py` in the working directory `dir`: it saves
    /// `dir/client_downloads/NAME`, and exits with 0 on success, and with 1 on failure.
    pub fn client(&self, dir: &Path, name: &str, host: &str, port: u16) -> Command {
        let mut command = self.script("client.py", dir);
        command.args([name, host, &port.to_string()]);
        command
    }

    fn script(&self, name: &str, dir: &Path) -> Command {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers");
        let mut command = Command::new(&self.interpreter);
        command.arg(peers.join(name)).current_dir(dir);
        command
    }
}

/// A running `server.py`. Killed when dropped.
#[derive(Debug)]
pub struct PythonServer {
    running: Running,
    lines: Lines,
    addr: SocketAddr,
}

impl PythonServer {
    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Presses Ctrl-C, and waits for the end.
    ///
    /// # Panics
    /// After [`WAIT_MAX`](crate::deadline::WAIT_MAX).
    pub fn interrupt(&mut self) -> ExitStatus {
        self.running.signal(Signal::INT);
        self.running.wait()
    }

    /// All lines that it has logged, once it has ended.
    ///
    /// # Panics
    /// After [`WAIT_MAX`](crate::deadline::WAIT_MAX).
    pub fn lines_to_the_end(&self) -> Vec<String> {
        self.lines.to_the_end()
    }
}

/// The file that `name` is: itself where it holds a `/`, else the first of its name in `path`.
fn look_up(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        return file.is_file().then_some(file);
    }
    env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_in_the_path_and_a_path_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("python3");
        std::fs::write(&file, "").unwrap();
        let path = env::join_paths([Path::new("/nonexistent"), folder.path()]).unwrap();
        assert_eq!(look_up(OsStr::new("python3"), &path), Some(file.clone()));
        assert_eq!(look_up(OsStr::new("python4"), &path), None);
        assert_eq!(look_up(file.as_os_str(), OsStr::new("")), Some(file));
        assert_eq!(look_up(OsStr::new("/nonexistent/python3"), &path), None);
    }
}
