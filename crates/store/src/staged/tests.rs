//! Files that are received, published, and gone on with.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, mknodat};

use towline_proto::name::RemoteName;

use super::{Base, Durability, Existing, Leftovers, StageError, Staged};

fn create(base: &Path, name: &str) -> Result<Staged, StageError> {
    let base = Base::from(base.to_owned());
    Staged::create(&base, &RemoteName::parse(name.as_bytes()).unwrap(), Leftovers::Discard)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_final_name_appears_at_once_with_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("downloads/here");
    let staged = create(&base, "a/b/file").unwrap();
    staged.file().as_ref().write_all(b"content").unwrap();
    assert_eq!(names(&base.join("a/b")), [".file.towline-part"]);
    let path = staged.publish(Existing::Replace, Durability::Synced).unwrap();
    assert_eq!(path, base.join("a/b/file"));
    assert_eq!(std::fs::read(path).unwrap(), b"content");
    assert_eq!(names(&base.join("a/b")), ["file"]);
}

#[test]
fn what_is_no_file_in_the_targets_place_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("file"), mode).unwrap();
    assert!(matches!(create(folder.path(), "file"), Err(StageError::TargetIsSpecial(_))));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_not_published_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "old").unwrap();
    drop(create(folder.path(), "file").unwrap());
    drop(create(folder.path(), "new/folder/file").unwrap());
    assert_eq!(names(folder.path()), ["file"]);
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"old");
}

#[test]
fn two_transfers_of_one_target_exclude_each_other_and_the_lock_dies_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let first = create(folder.path(), "file").unwrap();
    assert!(matches!(create(folder.path(), "file"), Err(StageError::Busy(_))));
    drop(first);
    assert!(create(folder.path(), "file").is_ok());
}

#[test]
fn what_a_dead_transfer_left_is_emptied_and_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".file.towline-part"), "left behind").unwrap();
    let staged = create(folder.path(), "file").unwrap();
    assert_eq!(staged.file().metadata().unwrap().len(), 0);
}

#[test]
fn a_resumable_transfer_leaves_its_bytes_and_notes_and_takes_them_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let name = RemoteName::parse(b"new/file").unwrap();
    let base = Base::from(folder.path().to_owned());
    let resume = || Staged::create(&base, &name, Leftovers::Keep).unwrap();
    let staged = resume();
    staged.file().as_ref().write_all(b"some").unwrap();
    staged.open_journal().unwrap().write_all(b"notes").unwrap();
    drop(staged);
    let staged = resume();
    assert_eq!(staged.file().metadata().unwrap().len(), 4);
    assert_eq!(staged.open_journal().unwrap().metadata().unwrap().len(), 5);
    staged.publish(Existing::Refuse, Durability::Synced).unwrap();
    assert_eq!(names(&folder.path().join("new")), ["file"]);
}

#[test]
fn a_final_name_that_is_taken_is_not_replaced_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "precious").unwrap();
    let staged = create(folder.path(), "file").unwrap();
    let refused = staged.publish(Existing::Refuse, Durability::Unsynced);
    assert!(matches!(refused, Err(StageError::TargetExists(_))));
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"precious");
}

#[test]
fn no_link_below_the_folder_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (base, outside) = (folder.path().join("base"), folder.path().join("outside"));
    std::fs::create_dir_all(&base).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "precious").unwrap();
    symlink(&outside, base.join("sub")).unwrap();
    assert!(matches!(create(&base, "sub/file"), Err(StageError::Folder { .. })));
    symlink(outside.join("file"), base.join(".file.towline-part")).unwrap();
    assert!(matches!(create(&base, "file"), Err(StageError::InTheWay(_))));
    std::fs::hard_link(outside.join("file"), base.join(".hard.towline-part")).unwrap();
    drop(create(&base, "hard").unwrap());
    assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"precious");
}

/// Begins `file`, or goes on with it.
fn resume(base: &Path) -> Result<Staged, StageError> {
    let name = RemoteName::parse(b"file").unwrap();
    Staged::create(&Base::from(base.to_owned()), &name, Leftovers::Keep)
}

#[test]
fn a_part_that_others_may_write_to_is_put_away_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join(".file.towline-part");
    std::fs::write(&part, "theirs").unwrap();
    std::fs::set_permissions(&part, Permissions::from_mode(0o666)).unwrap();
    let mut held_open = File::options().write(true).open(&part).unwrap();
    let staged = resume(folder.path()).unwrap();
    assert!(staged.is_empty());
    staged.file().as_ref().write_all(b"ours").unwrap();
    held_open.write_all(b"theirs").unwrap();
    let path = staged.publish(Existing::Refuse, Durability::Unsynced).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"ours");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn what_is_no_file_of_ours_in_the_journals_place_is_put_away_or_told() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, precious) = (
        folder.path().join("..file.journal.towline-part.towline-part"),
        folder.path().join("precious"),
    );
    std::fs::write(&precious, "precious").unwrap();
    let mode = rustix::fs::Mode::from_bits_truncate(0o666);
    let plants: [&dyn Fn(); 3] = [
        &|| std::fs::hard_link(&precious, &journal).unwrap(),
        &|| mknodat(CWD, &journal, FileType::Fifo, mode, 0).unwrap(),
        &|| {
            std::fs::write(&journal, "theirs").unwrap();
            std::fs::set_permissions(&journal, Permissions::from_mode(0o666)).unwrap();
        },
    ];
    for plant in plants {
        plant();
        let mut journal = resume(folder.path()).unwrap().open_journal().unwrap();
        assert_eq!(journal.metadata().unwrap().len(), 0);
        journal.write_all(b"notes").unwrap();
        std::fs::remove_file(folder.path().join("..file.journal.towline-part.towline-part"))
            .unwrap();
    }
    symlink(&precious, &journal).unwrap();
    let told = resume(folder.path()).unwrap().open_journal().unwrap_err();
    assert!(matches!(told, StageError::InTheWay(path) if path == journal));
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
}

#[test]
fn what_was_put_into_the_parts_place_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let staged = resume(folder.path()).unwrap();
    staged.file().as_ref().write_all(b"ours").unwrap();
    std::fs::write(folder.path().join("theirs"), "theirs").unwrap();
    let part = folder.path().join(".file.towline-part");
    std::fs::rename(folder.path().join("theirs"), part).unwrap();
    let told = staged.publish(Existing::Replace, Durability::Unsynced);
    assert!(matches!(told, Err(StageError::Replaced(_))));
    assert!(!folder.path().join("file").exists());
}

#[test]
fn a_link_at_the_final_name_is_replaced_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious"), "precious").unwrap();
    symlink("precious", folder.path().join("file")).unwrap();
    create(folder.path(), "file")
        .unwrap()
        .publish(Existing::Replace, Durability::Unsynced)
        .unwrap();
    assert_eq!(std::fs::read(folder.path().join("precious")).unwrap(), b"precious");
    assert!(std::fs::symlink_metadata(folder.path().join("file")).unwrap().is_file());
}

#[test]
fn a_folder_in_the_way_and_a_full_disk_are_told_before_anything_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("file")).unwrap();
    assert!(matches!(create(folder.path(), "file"), Err(StageError::TargetIsFolder(_))));
    let staged = create(folder.path(), "other").unwrap();
    assert!(staged.check_room(1).is_ok());
    assert!(matches!(staged.check_room(1 << 60), Err(StageError::NoSpace { .. })));
}

#[test]
fn a_name_of_255_bytes_is_received() {
    let folder = tempfile::tempdir().unwrap();
    let name = "n".repeat(255);
    create(folder.path(), &name).unwrap().publish(Existing::Replace, Durability::Unsynced).unwrap();
    assert_eq!(names(folder.path()), [name]);
}

#[test]
fn a_file_that_is_called_like_the_notes_of_another_shares_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::from(folder.path().to_owned());
    let files = ["data", "data.journal", "data.tree"]
        .map(|name| RemoteName::parse(name.as_bytes()).unwrap());
    let staged = files.map(|name| Staged::create(&base, &name, Leftovers::Keep).unwrap());
    for file in &staged {
        file.open_journal().unwrap();
    }
    assert_eq!(names(folder.path()).len(), 2 * staged.len());
}

#[test]
fn notes_that_are_in_use_are_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::from(folder.path().to_owned());
    let name = RemoteName::parse(b"file").unwrap();
    let one = Staged::create(&base, &name, Leftovers::Keep).unwrap();
    one.open_journal().unwrap().write_all(b"noted").unwrap();
    let mut noted = String::new();
    one.open_journal().unwrap().read_to_string(&mut noted).unwrap();
    assert_eq!(noted, "noted", "from the beginning");
    // Its part is gone, and another transfer begins.
    std::fs::remove_file(folder.path().join(".file.towline-part")).unwrap();
    let other = Staged::create(&base, &name, Leftovers::Keep).unwrap();
    assert!(matches!(other.open_journal(), Err(StageError::Busy(_))));
    drop(one);
    other.open_journal().unwrap();
}
