//! Network namespaces: made, entered by commands, and removed with all that runs in them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::LinkError;
use super::congestion::choose_allowed;
use crate::deadline::poll;

/// Where `ip` keeps the names of namespaces.
const NAMES: &str = "/run/netns";

/// How the names of all links' namespaces begin; the id of the process that made it follows.
const PREFIX: &str = "towline-";

/// One end of a link: a network of its own, with its address, in which commands run.
#[derive(Debug, Clone)]
pub struct End {
    namespace: String,
    address: Ipv4Addr,
}

impl End {
    pub(super) fn new(namespace: &str, address: Ipv4Addr) -> Self {
        Self { namespace: namespace.into(), address }
    }

    /// The address by which the other end reaches this one. Each end has a loopback of its own.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// As `ip netns` knows it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A command that runs `program` at this end. What is started is `ip`, and becomes the program:
    /// the process id stays the same.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// The same command at this end: its program, arguments, environment and working directory, but
    /// not where its input and output go.
    pub fn enter(&self, command: &Command) -> Command {
        let mut entered = self.command("env");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entered.env(name, value),
                None => entered.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            entered.current_dir(folder);
        }
        entered.arg(command.get_program()).args(command.get_args());
        entered
    }

    /// The congestion control of sockets that are made or accepted here from now on, unless their
    /// program chooses another. Restricted ones are
    /// allowed on this host for that moment.
    pub fn set_congestion_control(&self, name: &str) -> Result<(), LinkError> {
        let set = || self.set_parameter("net.ipv4.tcp_congestion_control", name);
        // Asking for it loads its module, without which it cannot be allowed.
        if set().is_ok() {
            return Ok(());
        }
        choose_allowed(name, set)
    }

    /// Sets a kernel parameter that each network has for itself, such as `net.ipv4.tcp_rmem`.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<(), LinkError> {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let mut command = self.command("sh");
        command.args(["-c", "printf %s \"$0\" >\"$1\"", value]).arg(path);
        said_by(&mut command).map(drop)
    }

    /// Ends every process that runs here, at once, and waits until none is left.
    ///
    /// # Panics
    /// After [`WAIT_MAX`](crate::deadline::WAIT_MAX).
    pub fn end_processes(&self) {
        let awaited = format!("the end of all processes in {}", self.namespace);
        poll(&awaited, || (kill_all(&self.namespace) == 0).then_some(()));
    }
}

/// A namespace with a name; dropping this ends its processes and removes it.
#[derive(Debug)]
pub(super) struct Namespace(String);

impl Namespace {
    pub(super) fn new(name: String) -> Result<Self, LinkError> {
        ip(&["netns", "add", &name])?;
        Ok(Self(name))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes what processes left behind that were killed.
pub(super) fn remove_stale() {
    let Ok(entries) = fs::read_dir(NAMES) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_stale = |name: &String| {
        maker(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    names.filter(is_stale).for_each(|name| remove(&name));
}

/// The id of the process that made the namespace of this name, if a link did.
fn maker(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

fn remove(name: &str) {
    kill_all(name);
    if let Err(error) = ip(&["netns", "delete", name]) {
        eprintln!("a network namespace is left behind: {error}");
    }
}

/// Kills the processes of a namespace; returns how many there were.
fn kill_all(namespace: &str) -> usize {
    let pids = ip(&["netns", "pids", namespace]).unwrap_or_default();
    let pids = pids.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
    let kill = |pid| {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    };
    pids.map(kill).count()
}

/// Runs `ip` with these arguments; returns what it said.
pub(super) fn ip(args: &[&str]) -> Result<String, LinkError> {
    said_by(Command::new("ip").args(args))
}

fn said_by(command: &mut Command) -> Result<String, LinkError> {
    let failed = |command: &Command, reason: String| {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        LinkError::Command { command: words.join(" "), reason }
    };
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(failed(command, said))
        }
        Err(error) => Err(failed(command, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_who_made_it() {
        assert_eq!(maker("towline-123-0n"), Some(123));
        for stranger in ["towline-123", "towline-x-0n", "other-123-0n", "towline"] {
            assert_eq!(maker(stranger), None, "{stranger}");
        }
    }
}
