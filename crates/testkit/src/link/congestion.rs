//! Which congestion controls the kernel allows: more for the time of a link, then what was before.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use super::LinkError;

/// For the whole host: what namespaces may choose.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// What was allowed before, once it has been changed; dropping this puts it back.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    before: Mutex<Option<String>>,
}

impl Allowed {
    /// Allows `name` beside what is allowed.
    pub(super) fn allow(&self, name: &str) -> Result<(), LinkError> {
        self.allow_in(Path::new(ALLOWED), name)
    }

    fn allow_in(&self, file: &Path, name: &str) -> Result<(), LinkError> {
        let failed = |error: std::io::Error| LinkError::CongestionControl {
            name: name.into(),
            reason: error.to_string(),
        };
        let now = fs::read_to_string(file).map_err(failed)?.trim().to_owned();
        if now.split_whitespace().any(|allowed| allowed == name) {
            return Ok(());
        }
        fs::write(file, format!("{now} {name}")).map_err(failed)?;
        let mut before = self.before.lock().expect("no holder of the lock panics");
        before.get_or_insert(now);
        Ok(())
    }

    fn put_back(&self, file: &Path) {
        let before = self.before.lock().expect("no holder of the lock panics").take();
        if let Some(before) = before
            && let Err(error) = fs::write(file, &before)
        {
            eprintln!("{} was `{before}` and cannot be put back: {error}", file.display());
        }
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        self.put_back(Path::new(ALLOWED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_allowed_is_put_back_after_several_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("allowed");
        fs::write(&file, "reno cubic\n").unwrap();
        let allowed = Allowed::default();
        for name in ["cubic", "bbr", "vegas", "bbr"] {
            allowed.allow_in(&file, name).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "reno cubic bbr vegas");
        allowed.put_back(&file);
        assert_eq!(fs::read_to_string(&file).unwrap(), "reno cubic");
    }

    #[test]
    fn what_was_not_changed_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("allowed");
        fs::write(&file, "reno cubic\n").unwrap();
        let allowed = Allowed::default();
        allowed.allow_in(&file, "reno").unwrap();
        allowed.put_back(&file);
        assert_eq!(fs::read_to_string(&file).unwrap(), "reno cubic\n");
    }
}
