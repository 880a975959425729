//! The machine under the measurement: what it is, what is set for the run and put back, and how the run
//! is interrupted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const TCP_SETTINGS: &str = "/proc/sys/net/ipv4";

/// The default of most hosts.
const USUAL: &str = "cubic";

/// What programs may choose by themselves during the run, where the kernel has it.
const ALLOWED: [&str; 3] = ["reno", "bbr", "cubic"];

/// Whether the run was asked to end.
///
/// A signal only raises this, so that everything on the stack is put back in the usual way.
#[derive(Clone, Debug, Default)]
pub(super) struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// From now on the signals that end a program raise it.
    pub(super) fn watch() -> Result<Self> {
        let interruption = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interruption.0))?;
        }
        Ok(interruption)
    }

    #[cfg(test)]
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once it is raised.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}

/// The usual congestion control for the time of the run; dropping this puts back what was there.
pub(super) struct CongestionControl {
    //// Files and what stood in them.
    saved: Vec<(PathBuf, String)>,
}

impl CongestionControl {
    /// Sets it, or says why it stays as it is.
    pub(super) fn usual() -> Self {
        Self::set_in(Path::new(TCP_SETTINGS))
    }

    fn set_in(folder: &Path) -> Self {
        let mut guard = Self { saved: Vec::new() };
        if let Err(error) = guard.set(folder) {
            eprintln!("the congestion control stays as it is (setting it needs root): {error:#}");
        }
        guard
    }

    fn set(&mut self, folder: &Path) -> Result<()> {
        let default = folder.join("tcp_congestion_control");
        let allowed = folder.join("tcp_allowed_congestion_control");
        // Both are read before either is written: the kernel allows what it is given as the default.
        for path in [&default, &allowed] {
            let before = fs::read_to_string(path)?.trim().to_owned();
            self.saved.push((path.clone(), before));
        }
        // The default comes first: setting it loads the module, without which it cannot be allowed.
        fs::write(&default, USUAL).context("the default")?;
        let available = fs::read_to_string(folder.join("tcp_available_congestion_control"))?;
        let is_here = |name: &&str| available.split_whitespace().any(|word| word == *name);
        let names: Vec<_> = ALLOWED.into_iter().filter(is_here).collect();
        fs::write(&allowed, names.join(" ")).context("what is allowed")
    }
}

impl Drop for CongestionControl {
    fn drop(&mut self) {
        for (path, before) in &self.saved {
            // What could not be set need not be put back, and could not be.
            if fs::read_to_string(path).is_ok_and(|now| now.trim() == before) {
                continue;
            }
            if let Err(error) = fs::write(path, before) {
                eprintln!("{} was `{before}` and cannot be put back: {error}", path.display());
            }
        }
    }
}

/// Everything that is measured runs on two cores, also where there are more.
#[cfg(target_os = "linux")]
pub(super) fn pin_to_two_cores() -> Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let mine = sched_getaffinity(None)?;
    let mut two = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|&core| mine.is_set(core)).take(2).for_each(|core| two.set(core));
    Ok(sched_setaffinity(None, &two)?)
}

/// Elsewhere nothing is measured.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin_to_two_cores() -> Result<()> {
    Ok(())
}

/// Touches as much memory as will be held, in a folder that is in memory: on a virtual machine the first touch of a page
/// can be many times slower than the next, and a page that is free for a while may be given back to the host.
pub(super) fn warm_memory(folder: &Path, bytes: u64, interruption: &Interruption) -> Result<()> {
    let path = folder.join("warm");
    let written = fill(&path, &mut io::repeat(0), bytes, interruption);
    fs::remove_file(&path)?;
    written
}

/// Writes a file of random bytes below `folder`, alone in a folder that can be served.
pub(super) fn served_file(
    folder: &Path,
    bytes: u64,
    interruption: &Interruption,
) -> Result<PathBuf> {
    let served = folder.join("served");
    fs::create_dir(&served)?;
    let path = served.join("file.bin");
    fill(&path, &mut File::open("/dev/urandom")?, bytes, interruption)?;
    Ok(path)
}

fn fill(
    path: &Path,
    from: &mut dyn io::Read,
    bytes: u64,
    interruption: &Interruption,
) -> Result<()> {
    let mut file = File::create(path)?;
    let mut chunk = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        interruption.check()?;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        from.read_exact(&mut chunk[..length])?;
        file.write_all(&chunk[..length])
            .with_context(|| format!("cannot write {}", path.display()))?;
        left -= length as u64;
    }
    Ok(())
}

/// One line that says what was measured on, with the files in `folder`.
pub(super) fn machine(folder: &Path) -> String {
    let setting = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let about_cores = setting("/proc/cpuinfo");
    let model =
        about_cores.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "{cores} cores ({}), Linux {}, congestion control {}, files in {}",
        model.map_or("unknown", |(_, name)| name),
        setting("/proc/sys/kernel/osrelease"),
        setting(&format!("{TCP_SETTINGS}/tcp_congestion_control")),
        folder.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(default: &str, allowed: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("tcp_congestion_control", &format!("{default}\n"));
        write("tcp_available_congestion_control", "reno cubic vegas\n");
        write("tcp_allowed_congestion_control", &format!("{allowed}\n"));
        folder
    }

    #[test]
    fn congestion_control_is_set_for_the_run_and_put_back() {
        let folder = settings("vegas", "reno vegas");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let guard = CongestionControl::set_in(folder.path());
        assert_eq!(read("tcp_congestion_control"), "cubic");
        assert_eq!(read("tcp_allowed_congestion_control"), "reno cubic");
        drop(guard);
        assert_eq!(read("tcp_congestion_control"), "vegas");
        assert_eq!(read("tcp_allowed_congestion_control"), "reno vegas");
    }

    #[test]
    fn half_of_a_setting_is_put_back_too() {
        let folder = settings("vegas", "reno");
        fs::remove_file(folder.path().join("tcp_available_congestion_control")).unwrap();
        drop(CongestionControl::set_in(folder.path()));
        let default = fs::read_to_string(folder.path().join("tcp_congestion_control")).unwrap();
        assert_eq!(default, "vegas");
    }
}
