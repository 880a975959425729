//! What takes part in a measurement: something that is prepared, run as a command, and checked.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// One line of the table.
pub(super) trait Contestant {
    /// As the table calls it.
    fn name(&self) -> &'static str;

    /// Before each round, untimed.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// The timed part: a whole process, from its start to its end.
    fn command(&self) -> Command;

    /// The most memory that its servers have taken up so far, in bytes; 0 where it has none of its own.
    fn server_peak(&self) -> u64 {
        0
    }

    /// After each round, untimed: checks what came out and leaves no trace of the round.
    fn conclude(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Whether a transfer's end waits for the disk.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Durability {
    Durable,
    #[default]
    NotSynced,
}

/// What becomes of what a round brought.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Leftovers {
    #[default]
    Removed,
    /// It is there already when the next round begins.
    Kept,
}

/// Compares `received`, a file or a folder, with `source` byte by byte and removes it.
pub(super) fn verify_and_remove(received: &Path, source: &Path) -> Result<()> {
    verify(received, source)?;
    let removed =
        if source.is_dir() { fs::remove_dir_all(received) } else { fs::remove_file(received) };
    removed.with_context(|| format!("cannot remove {}", received.display()))
}

/// Compares `received`, a file or a folder, with `source` byte by byte.
pub(super) fn verify(received: &Path, source: &Path) -> Result<()> {
    if source.is_dir() {
        let (here, there) = (names(received)?, names(source)?);
        ensure!(here == there, "{} has other names than its source", received.display());
        return there.iter().try_for_each(|name| verify(&received.join(name), &source.join(name)));
    }
    let same = same_content(received, source)
        .with_context(|| format!("cannot compare {} with its source", received.display()))?;
    ensure!(same, "{} differs from its source", received.display());
    Ok(())
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<OsString>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// `command` and, once it succeeds, `sync -f` of the file that it made: one run, timed as a whole.
pub(super) fn then_synced(command: &Command, target: &Path) -> Command {
    let mut both = Command::new("sh");
    both.args(["-c", "target=$1; shift; \"$@\" && sync -f \"$target\"", "sh"]).arg(target);
    both.arg(command.get_program()).args(command.get_args());
    both
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    const CHUNK_BYTES: usize = 1 << 20;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    // No larger than the file: trees have many small ones.
    let room = usize::try_from(one.metadata()?.len()).unwrap_or(CHUNK_BYTES).clamp(1, CHUNK_BYTES);
    let (mut left, mut right) = (vec![0; room], vec![0; room]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_afterwards_is_what_the_command_made() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a name with $1 and spaces");
        let mut touch = Command::new("touch");
        touch.arg(&target);
        assert!(then_synced(&touch, &target).status().unwrap().success());
        assert!(target.exists());
        let failed = then_synced(&Command::new("false"), &target).status().unwrap();
        assert!(!failed.success());
    }

    #[test]
    fn a_received_file_that_differs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("source"), vec![7; 3 << 20]).unwrap();
        let mut content = vec![7; 3 << 20];
        fs::write(path("same"), &content).unwrap();
        fs::write(path("shorter"), &content[1..]).unwrap();
        content[2_500_000] = 8;
        fs::write(path("different"), &content).unwrap();

        verify_and_remove(&path("same"), &path("source")).unwrap();
        assert!(!path("same").exists());
        for wrong in ["shorter", "different", "absent"] {
            assert!(verify_and_remove(&path(wrong), &path("source")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_received_tree_that_differs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (tree, file, content) in
            [("source", "a", "1"), ("same", "a", "1"), ("other", "a", "2"), ("named", "b", "1")]
        {
            fs::create_dir_all(path(tree).join("sub")).unwrap();
            fs::write(path(tree).join("sub").join(file), content).unwrap();
        }
        verify_and_remove(&path("same"), &path("source")).unwrap();
        assert!(!path("same").exists());
        for wrong in ["other", "named", "absent"] {
            assert!(verify(&path(wrong), &path("source")).is_err(), "{wrong}");
        }
    }
}
