//! Which congestion controls the kernel allows: one more for as long as it takes to choose it, then what was before.

use std::fs::{self, File};
use std::path::Path;

use towline_proto::escape::EscapedPath;

use super::LinkError;

/// For the whole host: what namespaces may choose. What has been chosen stays, also when it is allowed no more.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Has `choose` choose `name`, which is allowed meanwhile.
///
/// Others wait until that is over, whichever process they are in: each puts back what it found, which would otherwise
/// take from the other what it is about to choose, or leave it allowed.
pub(super) fn choose_allowed(
    name: &str,
    choose: impl FnOnce() -> Result<(), LinkError>,
) -> Result<(), LinkError> {
    choose_allowed_in(Path::new(ALLOWED), name, choose)
}

fn choose_allowed_in(
    path: &Path,
    name: &str,
    choose: impl FnOnce() -> Result<(), LinkError>,
) -> Result<(), LinkError> {
    let failed = |error: std::io::Error| LinkError::CongestionControl {
        name: name.into(),
        reason: error.to_string(),
    };
    let lock = File::open(path).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let before = fs::read_to_string(path).map_err(failed)?.trim().to_owned();
    let is_allowed = before.split_whitespace().any(|allowed| allowed == name);
    if is_allowed {
        return choose();
    }
    fs::write(path, format!("{before} {name}")).map_err(failed)?;
    let chosen = choose();
    if let Err(error) = fs::write(path, &before) {
        let path = EscapedPath(path);
        eprintln!("{path} was `{before}` and cannot be put back: {error}");
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn what_is_chosen_is_allowed_then_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("allowed");
        fs::write(&file, "reno cubic\n").unwrap();
        let read = || fs::read_to_string(&file).unwrap();
        for (name, meanwhile, after) in
            [("cubic", "reno cubic\n", "reno cubic\n"), ("bbr", "reno cubic bbr", "reno cubic")]
        {
            let choose = || {
                assert_eq!(read(), meanwhile);
                Ok(())
            };
            choose_allowed_in(&file, name, choose).unwrap();
            assert_eq!(read(), after);
        }
    }

    #[test]
    fn many_choose_at_once_and_nothing_more_is_allowed_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("allowed");
        fs::write(&file, "reno cubic").unwrap();
        let choices = AtomicUsize::new(0);
        thread::scope(|scope| {
            for number in 0..16 {
                let (file, choices) = (&file, &choices);
                scope.spawn(move || {
                    let name = ["bbr", "vegas"][number % 2];
                    let choose = || {
                        assert_eq!(fs::read_to_string(file).unwrap(), format!("reno cubic {name}"));
                        choices.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    };
                    choose_allowed_in(file, name, choose).unwrap();
                });
            }
        });
        assert_eq!(choices.into_inner(), 16);
        assert_eq!(fs::read_to_string(&file).unwrap(), "reno cubic");
    }
}
