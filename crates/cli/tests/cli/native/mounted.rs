//! File systems of a test's own: small ones that fill up, and ones whose power is cut. They need root.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use towline_testkit::python::Python;
use towline_testkit::skip;

use crate::support::{is_full, needs, needs_root};

/// What a file system does no more after the power is cut: it writes nothing, not even its journal
/// (`FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, include/uapi/linux/fs.h and fs/ext4/ext4.h). It is ready
/// before it is asked for, so that a cut comes without delay.
const CUT_POWER: &str = "
import fcntl, os, struct, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))
";

/// Tells a test that it runs where its mounts are its own.
const MOUNTS_ARE_OWN: &str = "TOWLINE_TEST_MOUNTS_ARE_OWN";

/// Whether a test's mounts are its own. Where they are not, runs that test again where they are, or says why it ends
/// here: whoever begins a mount namespace elsewhere while the test runs would copy its mounts, and hold them when
/// they are unmounted. Nothing stays mounted, however the test ends.
pub(super) fn has_own_mounts(test: &str) -> bool {
    if std::env::var_os(MOUNTS_ARE_OWN).is_some() {
        return true;
    }
    if !needs_root() || !needs("unshare") {
        return false;
    }
    let mut again = Command::new("unshare");
    again.arg("-m").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = again.env(MOUNTS_ARE_OWN, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// A mounted file system; unmounted when dropped.
pub(super) struct Mounted {
    folder: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    /// A file system in memory that has room for `bytes`.
    pub(super) fn in_memory(folder: &Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        Self::mount(folder, &["-t", "tmpfs", "-o", &size, "none"])
    }

    /// What is in an image.
    pub(super) fn image(image: &Path, folder: &Path) -> Option<Self> {
        Self::mount(folder, &["-o", "loop", image.to_str().unwrap()])
    }

    /// A file system of 64 MiB that takes upper and lower case for the same and cannot hold all names, or says why
    /// the test ends here.
    pub(super) fn without_case(image: &Path, folder: &Path) -> Option<Self> {
        if !needs_root() || !needs("mkfs.ntfs") || !needs("lowntfs-3g") {
            return None;
        }
        let has_devices =
            ["/dev/fuse", "/dev/loop-control"].iter().all(|path| Path::new(path).exists());
        if !has_devices {
            skip("there is no FUSE, or there are no loop devices");
            return None;
        }
        std::fs::File::create(image).unwrap().set_len(64 << 20).unwrap();
        let made = Command::new("mkfs.ntfs").args(["-F", "-q", "-Q"]).arg(image).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let options = "loop,ignore_case,windows_names";
        Self::mount(folder, &["-t", "lowntfs-3g", "-o", options, image.to_str().unwrap()])
    }

    /// Mounts, or says why the test ends here.
    fn mount(folder: &Path, args: &[&str]) -> Option<Self> {
        if !needs_root() || !needs("mount") {
            return None;
        }
        std::fs::create_dir_all(folder).unwrap();
        let output = Command::new("mount").args(args).arg(folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || !is_full(), "cannot mount: {said}");
        if !output.status.success() {
            skip(&format!("mounting is not permitted here: {said}"));
            return None;
        }
        Some(Self { folder: folder.to_owned(), is_mounted: true })
    }

    /// Writes everything to the disk.
    pub(super) fn sync(&self) {
        assert!(Command::new("sync").arg("-f").arg(&self.folder).status().unwrap().success());
    }

    /// Unmounts, which nobody may hinder.
    pub(super) fn unmount(mut self) {
        assert!(Command::new("umount").arg(&self.folder).status().unwrap().success());
        self.is_mounted = false;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            // A test that has failed may have left somebody in it.
            let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        }
    }
}

/// Ends a file system as a power cut does: what was not written yet never is.
pub(super) struct PowerSwitch {
    switch: Child,
}

impl PowerSwitch {
    /// A switch for the file system that `folder` is on.
    pub(super) fn of(folder: &Path) -> Self {
        let python = Python::find().expect("python3 was looked for");
        let mut command = Command::new(python.interpreter());
        command.args(["-c", CUT_POWER]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut switch = command.spawn().unwrap();
        let mut ready = [0; 6];
        switch.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Self { switch }
    }

    pub(super) fn cut(mut self) {
        self.switch.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(self.switch.wait().unwrap().success(), "the power cannot be cut");
    }
}

/// Makes an image of an empty ext4 file system, or says why the test ends here.
pub(super) fn ext4_image(image: &Path, bytes: u64) -> bool {
    if !needs_root() || !needs("mkfs.ext4") || !needs("mount") {
        return false;
    }
    let has_loop = Path::new("/dev/loop-control").exists() && Python::find().is_some();
    assert!(has_loop || !is_full(), "loop devices and python3 are needed for the full checks");
    if !has_loop {
        skip("there are no loop devices, or there is no python3");
        return false;
    }
    std::fs::File::create(image).unwrap().set_len(bytes).unwrap();
    Command::new("mkfs.ext4").arg("-q").arg(image).status().unwrap().success()
}
