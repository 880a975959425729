//! Where a server's process may still go once it serves, whatever it is led to: Landlock, where the kernel has it.
//!
//! It holds for the thread that asks for it and those that it starts, so it is asked for before there are others.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

use super::footprint::{Footprint, Need};

/// The newest rules that are asked for; an older kernel takes those that it knows. The tests have run on these.
const RULES: ABI = ABI::V7;

/// What libraries read by themselves: local time, the processors that there are, where SQLite begins its random
/// numbers. Found by tracing.
const SYSTEM: [&str; 7] = [
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/usr/lib/zoneinfo",
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/sys/fs/cgroup",
    "/dev/urandom",
];

/// The variable that names another folder of time zones.
const ZONES_VARIABLE: &str = "TZDIR";

/// What may be done below a place. What is served, and whether it is written as well, is decided here.
fn rights(need: Need) -> BitFlags<AccessFs> {
    match need {
        Need::Served => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
        Need::Read => AccessFs::ReadFile.into(),
        Need::Kept | Need::Logs | Need::Log => make_bitflags!(AccessFs::{
            ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir
        }),
    }
}

/// How far the process is confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Confined {
    /// It goes nowhere else, and writes in these folders.
    Wholly { written: BTreeSet<PathBuf> },
    /// The kernel knows only some of the rules.
    Partly { written: BTreeSet<PathBuf> },
    /// The kernel has no such rules.
    Unsupported,
    /// The configuration does not want it.
    Unwanted,
}

/// Confines this thread, and all that it starts, to what a server needs. From here on no socket can be bound or
/// connected, and no process outside be sent a signal.
pub(super) fn confine(footprint: &Footprint) -> anyhow::Result<Confined> {
    keep_temporary_files(footprint);
    let places = places(footprint);
    let status = ruleset(&places).and_then(|ruleset| Ok(ruleset.restrict_self()?.ruleset));
    let status = status.context("cannot confine the process (--confine=false goes without)")?;
    let writes = |(path, rights): &(PathBuf, BitFlags<_>)| {
        rights.contains(AccessFs::WriteFile).then(|| path.clone())
    };
    let written = places.iter().filter_map(writes).collect();
    Ok(match status {
        RulesetStatus::FullyEnforced => Confined::Wholly { written },
        RulesetStatus::PartiallyEnforced => Confined::Partly { written },
        RulesetStatus::NotEnforced => Confined::Unsupported,
    })
}

fn ruleset(places: &[(PathBuf, BitFlags<AccessFs>)]) -> anyhow::Result<RulesetCreated> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?;
    for (path, rights) in places {
        // What is not there cannot be used; who needs it says so.
        let Ok(opened) = PathFd::new(path) else { continue };
        let of_kind = if path.is_dir() { *rights } else { *rights & AccessFs::from_file(RULES) };
        ruleset = ruleset.add_rule(PathBeneath::new(opened, of_kind))?;
    }
    Ok(ruleset)
}

/// Files and folders, and what may be done below each.
fn places(footprint: &Footprint) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let own = footprint.iter().flat_map(|place| {
        let paths = match place.need {
            Need::Read | Need::Log => replaceable(&place.path),
            Need::Served | Need::Kept | Need::Logs => vec![place.path.clone()],
        };
        paths.into_iter().map(|path| (path, rights(place.need)))
    });
    let zones = std::env::var_os(ZONES_VARIABLE).map(PathBuf::from);
    let system = SYSTEM.into_iter().map(PathBuf::from).chain(zones);
    own.chain(system.map(|path| (path, rights(Need::Served)))).collect()
}

/// Where a file may be, also once another one has taken its name: Landlock knows files and not names, so that it is the
/// file's folder, and the one of what a link leads to. Never all that there is: a file at the top stays what it is.
fn replaceable(path: &Path) -> Vec<PathBuf> {
    let folder = |path: PathBuf| {
        let folder = path.parent().filter(|folder| folder.parent().is_some());
        folder.map(Path::to_owned).unwrap_or(path)
    };
    [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten().map(folder).collect()
}

/// Puts unnamed temporary files, in which long listings are sorted, where the server may write anyway.
fn keep_temporary_files(footprint: &Footprint) {
    let mut kept = footprint.iter().filter(|place| place.need == Need::Kept);
    if let Some(kept) = kept.find(|place| place.path.is_dir()) {
        // Fails only if one is set already; then the earlier one stays.
        let _ = tempfile::env::override_temp_dir(&kept.path);
    }
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (extent, written) = match self {
            Self::Wholly { written } => ("", written),
            Self::Partly { written } => (", as far as this kernel can", written),
            Self::Unsupported => return f.write_str("not confined: this kernel has no Landlock"),
            Self::Unwanted => return f.write_str("not confined, as configured"),
        };
        let written: Vec<_> =
            written.iter().map(|path| format!("{:?}", path.to_string_lossy())).collect();
        let written = if written.is_empty() { "nothing".into() } else { written.join(", ") };
        write!(f, "confined to what is served and configured, writing {written} (Landlock){extent}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_folder_and_by_that_of_its_links_target_and_never_by_everything() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(folder.join("archive")).unwrap();
        std::fs::write(folder.join("archive/cert1.pem"), "").unwrap();
        std::os::unix::fs::symlink("archive/cert1.pem", folder.join("cert.pem")).unwrap();
        let found = replaceable(&folder.join("cert.pem"));
        assert_eq!(found, [folder.clone(), folder.join("archive")]);
        assert_eq!(replaceable(Path::new("/towline.toml")), [Path::new("/towline.toml")]);
    }
}
