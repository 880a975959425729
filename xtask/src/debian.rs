//! Programs from Debian's packages.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{answer, run};

/// Installs packages, in one call: `apt-get` is slow to start. Says which are missing where it cannot.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !rustix::process::geteuid().is_root() || answer(&mut apt_get(&["--version"])).is_none() {
        bail!(
            "missing: {names}. Install them with the system's package manager, or run this as root on Debian"
        );
    }
    eprintln!("installing {names}");
    run(&mut apt_get(&["update", "-qq"]))?;
    run(apt_get(&["install", "-qq", "-y", "--no-install-recommends"]).args(packages))
}

/// Installs the packages of those programs that are not on the search path.
pub(crate) fn install_missing(programs: &[(&str, &str)]) -> Result<()> {
    let is_missing = |program: &str| {
        answer(Command::new("sh").args(["-c", "command -v \"$0\"", program])).is_none()
    };
    let missing = programs.iter().filter(|(program, _)| is_missing(program));
    install(&missing.map(|(_, package)| *package).collect::<Vec<_>>())
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    // Packages of servers start them; here they run only when they are measured.
    command.env("RUNLEVEL", "1");
    command
}
