//! The tools the checks and the full tests need: which, in which version, and how a missing one is had.
//!
//! Nothing is installed twice, and nothing outside the build folder except Debian packages and
//! components of the Rust toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::debian;
use crate::process::{answer, cargo, run};

/// A program, and the ways to have it, tried in order.
struct Tool {
    program: &'static str,
    /// Makes the program tell its version and end.
    version_flag: &'static str,
    /// The only version that will do, where the result depends on it.
    version: Option<&'static str>,
    sources: &'static [Source],
}

/// Where a tool comes from; each variant holds the name it has there.
enum Source {
    Component(&'static str),
    Debian(&'static str),
    Wheel(&'static str),
    Crate(&'static str),
}

use Source::{Component, Crate, Debian, Wheel};

#[rustfmt::skip]
const TOOLS: &[Tool] = &[
    Tool { program: "cargo-fmt",     version_flag: "--version", version: None,           sources: &[Component("rustfmt")] },
    Tool { program: "cargo-clippy",  version_flag: "--version", version: None,           sources: &[Component("clippy")] },
    Tool { program: "python3",       version_flag: "--version", version: None,           sources: &[Debian("python3")] },
    Tool { program: "pip3",          version_flag: "--version", version: None,           sources: &[Debian("python3-pip")] },
    Tool { program: "gdb",           version_flag: "--version", version: None,           sources: &[Debian("gdb")] },
    Tool { program: "strace",        version_flag: "--version", version: None,           sources: &[Debian("strace")] },
    Tool { program: "tmux",          version_flag: "-V",        version: None,           sources: &[Debian("tmux")] },
    Tool { program: "ip",            version_flag: "-V",        version: None,           sources: &[Debian("iproute2")] },
    Tool { program: "mount",         version_flag: "--version", version: None,           sources: &[Debian("mount")] },
    Tool { program: "mkfs.ext4",     version_flag: "-V",        version: None,           sources: &[Debian("e2fsprogs")] },
    Tool { program: "mkfs.ntfs",     version_flag: "--version", version: None,           sources: &[Debian("ntfs-3g")] },
    Tool { program: "ping",          version_flag: "-V",        version: None,           sources: &[Debian("iputils-ping")] },
    Tool { program: "systemd-analyze", version_flag: "--version", version: None,         sources: &[Debian("systemd")] },
    Tool { program: "openssl",       version_flag: "version",   version: None,           sources: &[Debian("openssl")] },
    Tool { program: "typos",         version_flag: "--version", version: Some("1.52.0"), sources: &[Wheel("typos"), Crate("typos-cli")] },
    Tool { program: "cargo-machete", version_flag: "--version", version: Some("0.9.2"),  sources: &[Crate("cargo-machete")] },
    Tool { program: "cargo-deny",    version_flag: "--version", version: Some("0.20.2"), sources: &[Crate("cargo-deny")] },
];

/// The folder where tools are installed for the checks alone.
pub(super) struct Toolbox {
    root: PathBuf,
}

impl Toolbox {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Installs what is missing.
    pub(super) fn install(&self) -> Result<()> {
        self.install_debian_packages()?;
        for tool in TOOLS {
            match self.find(tool) {
                Some(found) => eprintln!("{}: {found}", tool.program),
                None => self.install_tool(tool)?,
            }
        }
        Ok(())
    }

    /// A command that runs the tool of that name in the version of the table.
    pub(super) fn program(&self, name: &str) -> Result<Command> {
        let tool = TOOLS.iter().find(|tool| tool.program == name);
        let tool = tool.with_context(|| format!("{name} is not in the table of tools"))?;
        self.candidates(tool)
            .into_iter()
            .find(|candidate| is_right(tool, candidate).is_some())
            .map(Command::new)
            .with_context(|| format!("{name} is not installed"))
    }

    /// What the tool says about its version, if the right one is here.
    fn find(&self, tool: &Tool) -> Option<String> {
        let candidates = self.candidates(tool);
        candidates.iter().find_map(|candidate| is_right(tool, candidate))
    }

    /// The tool's own folders come first: the one on the search path may be of another version.
    fn candidates(&self, tool: &Tool) -> Vec<PathBuf> {
        vec![
            self.root.join("bin").join(tool.program),
            self.wheels().join("bin").join(tool.program),
            tool.program.into(),
        ]
    }

    fn wheels(&self) -> PathBuf {
        self.root.join("wheels")
    }

    /// One call for all packages: `apt-get` is slow to start.
    fn install_debian_packages(&self) -> Result<()> {
        let missing: Vec<_> = TOOLS
            .iter()
            .filter(|tool| self.find(tool).is_none())
            .flat_map(|tool| tool.sources)
            .filter_map(|source| match source {
                Debian(package) => Some(*package),
                _ => None,
            })
            .collect();
        debian::install(&missing)
    }

    fn install_tool(&self, tool: &Tool) -> Result<()> {
        for source in tool.sources {
            eprintln!("installing {}", tool.program);
            let installed = match source {
                // Already tried, for all of them at once.
                Debian(_) => Ok(()),
                Component(name) => run(Command::new("rustup").args(["component", "add", name])),
                Wheel(name) => run(&mut self.pip_install(name, tool.version)),
                Crate(name) => run(&mut self.cargo_install(name, tool.version)),
            };
            if let Err(error) = installed {
                eprintln!("{error:#}");
            } else if self.find(tool).is_some() {
                return Ok(());
            }
        }
        bail!("{} {} could not be installed", tool.program, tool.version.unwrap_or_default())
    }

    /// A wheel holds a ready-made program: seconds, where building it takes minutes.
    fn pip_install(&self, name: &str, version: Option<&str>) -> Command {
        let requirement = version.map_or(name.to_owned(), |version| format!("{name}=={version}"));
        let mut command = Command::new("python3");
        command
            .args(["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps"])
            .args(["--only-binary", ":all:", "--target"])
            .arg(self.wheels())
            .arg(requirement)
            .env("PIP_ROOT_USER_ACTION", "ignore");
        command
    }

    /// A debug build: these tools run for a second, and their release profiles take minutes to link.
    fn cargo_install(&self, name: &str, version: Option<&str>) -> Command {
        let mut command = cargo();
        command
            .args(["install", "--locked", "--debug", "--quiet", name, "--root"])
            .arg(&self.root)
            .arg("--target-dir")
            .arg(self.root.join("build"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0");
        if let Some(version) = version {
            command.args(["--version", version]);
        }
        command
    }
}

/// What `candidate` says about its version, if it runs and is the version asked for.
fn is_right(tool: &Tool, candidate: &Path) -> Option<String> {
    let said = answer(Command::new(candidate).arg(tool.version_flag))?;
    let first_line = said.lines().next().unwrap_or_default();
    let fits =
        tool.version.is_none_or(|version| said.split_whitespace().any(|word| word == version));
    fits.then(|| first_line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `echo` says of itself what it is told to say.
    fn echo(says: &'static str, version: Option<&'static str>) -> Tool {
        Tool { program: "echo", version_flag: says, version, sources: &[] }
    }

    #[test]
    fn only_the_version_of_the_table_will_do() {
        let path = Path::new("echo");
        let found = is_right(&echo("typos-cli 1.52.0", Some("1.52.0")), path);
        assert_eq!(found.as_deref(), Some("typos-cli 1.52.0"));
        assert!(is_right(&echo("0.9.20", Some("0.9.2")), path).is_none());
        assert!(is_right(&echo("anything", None), path).is_some());
        assert!(is_right(&echo("", None), Path::new("/nonexistent")).is_none());
    }

    #[test]
    fn a_tool_installed_for_the_checks_is_preferred() {
        let toolbox = Toolbox::new("tools".into());
        let candidates = toolbox.candidates(&echo("", None));
        assert_eq!(candidates[0], Path::new("tools/bin/echo"));
        assert_eq!(candidates.last().map(PathBuf::as_path), Some(Path::new("echo")));
    }

    #[test]
    fn a_tool_without_a_source_is_refused_by_name() {
        let toolbox = Toolbox::new("tools".into());
        let error = toolbox.install_tool(&echo("", Some("7.7"))).unwrap_err();
        assert_eq!(error.to_string(), "echo 7.7 could not be installed");
    }
}
