//! Opening names below an open folder, so that neither text nor links lead out of it.
//!
//! Linux does this in one call, `openat2`. Where a kernel or a sandbox refuses that call, the name is
//! walked component by component without following any link, which confines as well.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use towline_proto::name::RemoteName;

/// How often an `openat2` that raced a rename is tried again (openat2(2), `EAGAIN`).
const RACES_MAX: usize = 16;

/// What happens to symbolic links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// None is followed, wherever it leads.
    #[default]
    Refuse,
    /// Relative ones that stay below the folder are followed.
    FollowInside,
}

/// Opens `name` below `folder`. A link that is not followed gives `LOOP` (or `XDEV` where links are
/// followed and this one leads out).
pub(crate) fn open_beneath(
    folder: BorrowedFd<'_>,
    name: &RemoteName,
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    for _ in 0..RACES_MAX {
        match openat2(folder, name.as_bytes(), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return walk(folder, name, flags),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// The same, component by component; follows no link at all.
fn walk(folder: BorrowedFd<'_>, name: &RemoteName, flags: OFlags) -> Result<OwnedFd, Errno> {
    let (folders, last) = name.split_last();
    let mut parent = None;
    for component in folders {
        let here = parent.as_ref().map_or(folder, AsFd::as_fd);
        let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        parent = Some(openat(here, component, step, Mode::empty())?);
    }
    let parent = parent.as_ref().map_or(folder, AsFd::as_fd);
    let opened = openat(parent, last, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    // With `O_PATH`, `O_NOFOLLOW` opens the link itself instead of refusing it.
    let file_type = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
    if file_type.is_symlink() { Err(Errno::LOOP) } else { Ok(opened) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::symlink;

    use rustix::fs::OFlags;
    use rustix::io::Errno;
    use towline_proto::name::RemoteName;

    use super::{Links, open_beneath, walk};

    fn name(text: &str) -> RemoteName {
        RemoteName::parse(text.as_bytes()).unwrap()
    }

    /// A folder with a file, a file in a sub-folder, and links of every kind.
    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("sub/file"), "content").unwrap();
        symlink("../secret", root.join("leaf")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("sub", root.join("inside")).unwrap();
        symlink(outside.path().join("secret"), root.join("absolute")).unwrap();
        let fd = std::fs::File::open(&root).unwrap().into();
        (outside, fd)
    }

    #[test]
    fn a_file_in_a_sub_folder_opens_either_way() {
        let (_keep, root) = folder();
        for flags in [OFlags::PATH, OFlags::RDONLY] {
            open_beneath(root.as_fd(), &name("sub/file"), flags, Links::Refuse).unwrap();
            walk(root.as_fd(), &name("sub/file"), flags).unwrap();
        }
    }

    #[test]
    fn links_are_refused_at_the_leaf_and_above_it_either_way() {
        let (_keep, root) = folder();
        for (link, walked) in [
            ("leaf", Errno::LOOP),
            ("absolute", Errno::LOOP),
            ("up/secret", Errno::NOTDIR),
            ("inside/file", Errno::NOTDIR),
        ] {
            let opened = open_beneath(root.as_fd(), &name(link), OFlags::PATH, Links::Refuse);
            assert_eq!(opened.unwrap_err(), Errno::LOOP, "{link}");
            assert_eq!(
                walk(root.as_fd(), &name(link), OFlags::PATH).unwrap_err(),
                walked,
                "{link}"
            );
        }
    }

    #[test]
    fn followed_links_stay_inside() {
        let (_keep, root) = folder();
        let follow =
            |link| open_beneath(root.as_fd(), &name(link), OFlags::PATH, Links::FollowInside);
        follow("inside/file").unwrap();
        assert_eq!(follow("leaf").unwrap_err(), Errno::XDEV);
        assert_eq!(follow("up/secret").unwrap_err(), Errno::XDEV);
        assert_eq!(follow("absolute").unwrap_err(), Errno::XDEV);
    }

    #[test]
    fn magic_links_are_never_followed() {
        let process = std::fs::File::open("/proc/self").unwrap();
        let opened = open_beneath(
            process.as_fd(),
            &name("root/etc/passwd"),
            OFlags::PATH,
            Links::FollowInside,
        );
        assert!(matches!(opened.unwrap_err(), Errno::LOOP | Errno::XDEV));
    }
}
