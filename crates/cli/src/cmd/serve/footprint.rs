//! Every file and folder that a server uses once it has started: what each is for, and whether it can be used. How the
//! process is kept to them is `confinement`'s.

use std::fs::{self, OpenOptions, create_dir_all, read_dir};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, ensure};
use rustix::fs::{Access, CWD, Mode, OFlags, ResolveFlags, access, mkdirat, openat, openat2};
use rustix::io::Errno;
use towline_proto::escape::EscapedPath;

use super::user::User;
use crate::config::File;

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A folder whose content is served.
    Served,
    /// A folder for secrets and what is remembered, which the server alone uses.
    Kept,
    /// A folder for logs.
    Logs,
    /// A log file, which is moved away and made anew.
    Log,
    /// A file that is read again, and that may be replaced by another one of its name.
    Read,
}

/// A file or folder. It need not be there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) need: Need,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Footprint(Vec<Place>);

impl Footprint {
    /// What a server of `config` uses; `dir` is served where there are no shares.
    pub(super) fn of(config: &File, dir: Option<&Path>) -> io::Result<Self> {
        let shares = config.share.iter().map(|share| &*share.path);
        let (state_dir, credentials) = (config.state_dir(), config.credentials_file());
        let (tls, log) = (&config.tls, &config.log);
        let read = [
            config.origin.as_deref(),
            tls.cert.as_deref(),
            tls.key.as_deref(),
            tls.client_ca.as_deref(),
        ];
        let groups: [(Need, Vec<&Path>); 5] = [
            (Need::Served, dir.into_iter().chain(shares).collect()),
            (Need::Kept, state_dir.as_deref().into_iter().collect()),
            (Need::Logs, config.log_dir.as_deref().into_iter().collect()),
            (
                Need::Log,
                [log.access.as_deref(), log.audit.as_deref()].into_iter().flatten().collect(),
            ),
            (Need::Read, read.into_iter().chain([credentials.as_deref()]).flatten().collect()),
        ];
        let all = groups
            .into_iter()
            .flat_map(|(need, paths)| paths.into_iter().map(move |path| (need, path)));
        all.map(|(need, path)| Ok(Place { path: absolute(path)?, need }))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.0.iter()
    }

    /// Makes the folders that the server writes in, where they are missing, and gives those that it made to `owner`.
    /// What was there stays whose it is. Who needs one that cannot be made says so.
    pub(super) fn make(&self, owner: Option<&User>) -> anyhow::Result<()> {
        for (folder, mode) in self.0.iter().filter_map(Place::own_folder) {
            let made = make_folder(folder, mode).unwrap_or(None);
            if let (Some(owner), Some(made)) = (owner, made) {
                owner.give(made.as_fd()).with_context(|| {
                    format!("cannot give {} to {:?}", EscapedPath(folder), owner.name())
                })?;
            }
        }
        Ok(())
    }

    /// Fails on what this process, having become `user`, may not use.
    pub(super) fn check_rights(&self, user: &User) -> anyhow::Result<()> {
        for place in &self.0 {
            if let Err(path) = place.check_rights() {
                let (verb, advice) = match place.need {
                    Need::Served | Need::Read => (
                        "read",
                        "let them, for instance by a group; the folders above count as well",
                    ),
                    Need::Kept | Need::Logs | Need::Log => ("write", "give it to them with chown"),
                };
                anyhow::bail!(
                    "the user {:?} may not {verb} {}: {advice}",
                    user.name(),
                    EscapedPath(&path)
                );
            }
        }
        Ok(())
    }

    /// Fails on what the user may read and this process may not: it was confined when other places were configured.
    pub(super) fn check_confinement(&self) -> anyhow::Result<()> {
        for Place { path, need } in &self.0 {
            let read = match need {
                Need::Served => open_folder(path),
                Need::Read => fs::File::open(path),
                Need::Kept | Need::Logs | Need::Log => continue,
            };
            let Err(error) = read else { continue };
            let is_denied = error.kind() == ErrorKind::PermissionDenied;
            // The kernel's answer about the user's rights is not about confinement.
            ensure!(
                !is_denied || access(path, Access::READ_OK).is_err(),
                "{}: {error}: this process is confined to the places that were named when it started; restart it",
                EscapedPath(path),
            );
        }
        Ok(())
    }
}

impl Place {
    /// The folder that the server writes in, with the mode of a new one.
    fn own_folder(&self) -> Option<(&Path, u32)> {
        match self.need {
            Need::Kept => Some((&self.path, 0o700)),
            Need::Logs => Some((&self.path, 0o777)),
            Need::Log => self.path.parent().map(|folder| (folder, 0o777)),
            Need::Served | Need::Read => None,
        }
    }

    /// What of it cannot be used for lack of rights, if anything. Other reasons are told by whoever uses it.
    fn check_rights(&self) -> Result<(), PathBuf> {
        let path = &*self.path;
        match self.need {
            Need::Served => check(path, Access::READ_OK | Access::EXEC_OK),
            Need::Read => check(path, Access::READ_OK),
            Need::Logs => check(path, Access::WRITE_OK | Access::EXEC_OK),
            Need::Log if path.exists() => check(path, Access::WRITE_OK),
            Need::Log => path
                .parent()
                .map_or(Ok(()), |folder| check(folder, Access::WRITE_OK | Access::EXEC_OK)),
            Need::Kept => {
                let files = Access::READ_OK | Access::WRITE_OK;
                check(path, files | Access::EXEC_OK)?;
                // Its key and the like, which a server of another user may have made.
                let entries = read_dir(path).into_iter().flatten().flatten();
                entries.map(|entry| entry.path()).try_for_each(|path| check(&path, files))
            }
        }
    }
}

fn check(path: &Path, rights: Access) -> Result<(), PathBuf> {
    match access(path, rights) {
        Err(Errno::ACCESS | Errno::ROFS) => Err(path.to_owned()),
        _ => Ok(()),
    }
}

/// Makes a folder that is missing, and opens it: `None` where it is there. Those above it are nobody's secret: its owner
/// must get through them. Root may be making it where somebody else puts links meanwhile: none is followed.
fn make_folder(path: &Path, mode: u32) -> io::Result<Option<OwnedFd>> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    create_dir_all(above)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above =
        openat2(CWD, above.canonicalize()?, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    match mkdirat(&above, name, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) => return Ok(None),
        made => made?,
    }
    Ok(Some(openat(&above, name, flags | OFlags::NOFOLLOW, Mode::empty())?))
}

fn open_folder(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::DIRECTORY.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
