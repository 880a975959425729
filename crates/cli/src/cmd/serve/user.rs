//! The user that a server becomes which root started: once, while the process has one thread, and for good.

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::fchown;

use anyhow::{Context, ensure};
use nix::unistd::{
    Gid, ROOT, User as Entry, getegid, geteuid, getgrouplist, getgroups, getresgid, getresuid,
    initgroups, setegid, seteuid, setgid, setresgid, setresuid, setuid,
};
use rustix::thread::{capabilities, set_no_new_privs};

/// Whether the process may do what root may.
pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

/// A user that is not root, and that root can become.
pub(super) struct User {
    name: CString,
    entry: Entry,
}

impl User {
    /// The user of that name, while this process still is root.
    pub(super) fn find(name: &str) -> anyhow::Result<Self> {
        ensure!(
            is_root(),
            "cannot become the user {name:?}: that takes root; start as root, or as that user without --user"
        );
        let found = Entry::from_name(name);
        let found = found.with_context(|| format!("cannot look up the user {name:?}"))?;
        let entry = found.with_context(|| {
            format!("there is no user {name:?}; make one (useradd --system), or name another")
        })?;
        ensure!(!entry.uid.is_root(), "{name:?} is root: leave the user out, or name another");
        Ok(Self { name: CString::new(name)?, entry })
    }

    /// The name.
    pub(super) fn name(&self) -> &str {
        &self.entry.name
    }

    /// Gives them a folder that root has made.
    pub(super) fn give(&self, folder: BorrowedFd<'_>) -> io::Result<()> {
        fchown(folder, Some(self.entry.uid.as_raw()), Some(self.entry.gid.as_raw()))
    }

    /// Becomes this user, with their groups and no others. Where that does not hold in every respect afterwards it is an
    /// error, and nothing may be served.
    pub(super) fn become_for_good(&self) -> anyhow::Result<()> {
        let Entry { name, uid, gid, .. } = &self.entry;
        // Groups first: only root can change them. The C library does it for all threads.
        initgroups(&self.name, *gid)
            .and_then(|()| setresgid(*gid, *gid, *gid))
            .and_then(|()| setresuid(*uid, *uid, *uid))
            .with_context(|| format!("cannot become the user {name:?}"))?;
        // No program that runs as its owner brings anything back either.
        set_no_new_privs(true).context("cannot give up new rights")?;
        ensure!(self.is_all_there_is()?, "some of root's rights are left to {name:?}: not serving");
        Ok(())
    }

    /// Whether this process is this user and nobody else, and cannot become anybody else.
    fn is_all_there_is(&self) -> anyhow::Result<bool> {
        let Entry { uid, gid, .. } = self.entry;
        let (uids, gids) = (getresuid()?, getresgid()?);
        let is_them = [uids.real, uids.effective, uids.saved] == [uid; 3]
            && [gids.real, gids.effective, gids.saved] == [gid; 3];
        let groups = getgrouplist(&self.name, gid)?;
        let has_their_groups = getgroups()?.iter().all(|group| groups.contains(group));
        Ok(is_them
            && has_their_groups
            && !can_be_root_again()
            && capabilities(None)?.permitted.is_empty())
    }
}

/// Tries.
fn can_be_root_again() -> bool {
    let root_group = Gid::from_raw(0);
    let as_user =
        setuid(ROOT).is_ok() || seteuid(ROOT).is_ok() || setresuid(ROOT, ROOT, ROOT).is_ok();
    // Root's group may be one that the user is in.
    let as_group =
        getegid() != root_group && (setgid(root_group).is_ok() || setegid(root_group).is_ok());
    as_user || as_group
}
