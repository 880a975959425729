//! Trees that are built, published, and gone on with.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use towline_proto::name::RemoteName;

use super::{Attributes, Here, Missing, Mode, StagedTree, TargetTree, TreeWriter};
use crate::staged::{Durability, Existing, StageError};

const ATTRIBUTES: Attributes = Attributes { modified_ns: 1_000_000_007, mode: Mode::Keep(0o640) };

fn name(text: &str) -> RemoteName {
    RemoteName::parse(text.as_bytes()).unwrap()
}

fn begin(folder: &Path) -> Result<StagedTree, StageError> {
    StagedTree::create(TargetTree::within(folder, b"tree")?, Durability::Synced)
}

fn write(tree: &StagedTree, writer: &mut TreeWriter, path: &str, content: &[u8]) {
    writer.write_file(&name(path), content, ATTRIBUTES).unwrap();
    tree.journal().note([(&name(path), blake3::hash(content))].into_iter()).unwrap();
}

fn place(tree: &StagedTree, path: &str, existing: Existing) -> Vec<String> {
    let mut failed = tree.place([(name(path), existing)].into_iter(), 0).unwrap();
    failed.extend(tree.place_rest().unwrap());
    failed.into_iter().map(|(_, error)| error.to_string()).collect()
}

#[test]
fn a_new_tree_appears_at_once_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let tree = begin(folder.path()).unwrap();
    write(&tree, &mut tree.writer(), "a/b/file", b"content");
    assert!(!folder.path().join("tree").exists());
    assert!(matches!(begin(folder.path()), Err(StageError::Busy(_))));
    tree.publish().unwrap();
    assert_eq!(std::fs::read(folder.path().join("tree/a/b/file")).unwrap(), b"content");
    drop(tree);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_attempt_that_wrote_nothing_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(begin(folder.path()).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_tree_is_not_built_in_a_folder_that_others_may_write_into() {
    let folder = tempfile::tempdir().unwrap();
    let building = folder.path().join("..tree.tree.towline-part.towline-part");
    let plant = || {
        std::fs::create_dir(&building).unwrap();
        std::fs::set_permissions(&building, Permissions::from_mode(0o777)).unwrap();
    };
    plant();
    let tree = begin(folder.path()).unwrap();
    assert_eq!(std::fs::metadata(&building).unwrap().mode() & 0o777, 0o700);
    drop(tree);
    // What is in it is nobody's to remove but theirs.
    plant();
    std::fs::write(building.join("theirs"), "theirs").unwrap();
    assert!(matches!(begin(folder.path()), Err(StageError::InTheWay(path)) if path == building));
    assert_eq!(std::fs::read(building.join("theirs")).unwrap(), b"theirs");
}

#[test]
fn what_was_put_into_a_trees_place_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let tree = begin(folder.path()).unwrap();
    write(&tree, &mut tree.writer(), "file", b"ours");
    let generation = folder.path().join("..tree.tree.towline-part.towline-part/0");
    std::fs::rename(&generation, folder.path().join("aside")).unwrap();
    std::fs::create_dir(&generation).unwrap();
    assert!(matches!(tree.publish(), Err(StageError::Replaced(_))));
    assert!(!folder.path().join("tree").exists());
}

#[test]
fn what_was_noted_is_taken_over_if_it_is_sound_and_asked_for_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let tree = begin(folder.path()).unwrap();
    let mut writer = tree.writer();
    for path in ["sound", "damaged", "not asked for", "deep/sound"] {
        write(&tree, &mut writer, path, b"content");
    }
    writer.write_file(&name("not noted"), b"content", ATTRIBUTES).unwrap();
    let building = folder.path().join("..tree.tree.towline-part.towline-part");
    let damaged = building.join("0/damaged");
    drop((writer, tree));
    let modified = std::fs::metadata(&damaged).unwrap().modified().unwrap();
    std::fs::write(&damaged, b"c0ntent").unwrap();
    std::fs::File::options().write(true).open(&damaged).unwrap().set_modified(modified).unwrap();

    // An attempt that dies before it has done anything changes nothing.
    drop(begin(folder.path()).unwrap());
    let tree = begin(folder.path()).unwrap();
    let mut writer = tree.writer();
    let mut taken = |path: &str| writer.take_over(&name(path), 7, ATTRIBUTES, tree.noted());
    assert!(taken("sound") && taken("deep/sound"));
    assert!(!taken("damaged") && !taken("not noted") && !taken("never there"));
    tree.remove_earlier();
    assert_eq!(std::fs::read_dir(building).unwrap().count(), 2, "a generation and the journal");
    tree.publish().unwrap();
    let names = |path: &str| std::fs::read_dir(folder.path().join(path)).unwrap().count();
    assert_eq!((names(""), names("tree"), names("tree/deep")), (1, 2, 1));
}

#[test]
fn files_of_an_existing_tree_get_their_names_one_by_one_and_replace_only_where_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("mine"), "mine").unwrap();
    let tree = begin(folder.path()).unwrap();
    let mut writer = tree.writer();
    for path in ["mine", "new", "sub/new"] {
        write(&tree, &mut writer, path, b"theirs");
    }
    assert_eq!(
        place(&tree, "mine", Existing::Refuse),
        [
            "cannot name it: something has come there meanwhile, or has a name that this file system takes for the same"
        ]
    );
    assert_eq!(std::fs::read(root.join("mine")).unwrap(), b"mine");
    for path in ["mine", "new", "sub/new"] {
        assert!(place(&tree, path, Existing::Replace).is_empty());
        assert_eq!(std::fs::read(root.join(path)).unwrap(), b"theirs");
    }
    tree.publish().unwrap();
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 3);
}

#[test]
fn names_that_collide_are_told_and_the_first_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let tree = begin(folder.path()).unwrap();
    let mut writer = tree.writer();
    write(&tree, &mut writer, "one", b"1");
    // As two names are that a file system without upper case takes for the same.
    let error = writer.write_file(&name("one"), b"2", ATTRIBUTES).unwrap_err();
    assert!(
        error.to_string().contains("another one's for the same") && error.of_the_disk().is_none()
    );
    let one = folder.path().join("..tree.tree.towline-part.towline-part/0/one");
    assert_eq!(std::fs::read(one).unwrap(), b"1");
    writer.make_folder(&name("folder")).unwrap();
    let error = writer.make_folder(&name("folder")).unwrap_err();
    assert!(error.to_string().contains("another one's for the same"), "{error}");
    let below = writer.write_file(&name("one/below"), b"2", ATTRIBUTES).unwrap_err();
    assert!(below.to_string().contains("no folder"), "{below}");
}

#[test]
fn no_link_is_followed_to_what_is_here_or_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    std::fs::create_dir_all(root.join("real")).unwrap();
    std::fs::write(root.join("real/file"), "x").unwrap();
    symlink("real", root.join("link")).unwrap();
    let target = TargetTree::within(folder.path(), b"tree").unwrap();
    let mut chain = target.chain(Missing::Fail).unwrap();
    assert!(matches!(chain.look(&name("real/file")).unwrap(), Here::File { size: 1, .. }));
    assert_eq!(chain.look(&name("link")).unwrap(), Here::Link { target: b"real".to_vec() });
    assert_eq!(chain.look(&name("link/file")).unwrap(), Here::Other);
    assert_eq!(chain.look(&name("nowhere/file")).unwrap(), Here::Nothing);
    assert!(TargetTree::within(&root, b"link").is_err());
    let mut making = target.chain(Missing::Make).unwrap();
    assert!(making.make_folder(&name("link/new")).is_err());
}

#[test]
fn times_are_the_same_as_exactly_as_they_are_kept() {
    let file = |modified_ns| Here::File { size: 5, modified_ns };
    let there = |modified_ns| Attributes { modified_ns, mode: Mode::Default };
    assert!(file(1_500_000_000).is_same_file(5, there(1_500_000_000)));
    assert!(file(1_000_000_000).is_same_file(5, there(1_500_000_000)), "whole seconds are kept");
    assert!(file(-1_000_000_000).is_same_file(5, there(-1)));
    assert!(file(1_234_567_800).is_same_file(5, there(1_234_567_899)), "as NTFS keeps it");
    assert!(file(1_230_000_000).is_same_file(5, there(1_234_567_899)), "as exFAT keeps it");
    assert!(!file(1_234_567_801).is_same_file(5, there(1_234_567_899)));
    assert!(!file(1_234_567_700).is_same_file(5, there(1_234_567_899)));
    assert!(!file(1_500_000_000).is_same_file(5, there(1_000_000_000)));
    assert!(!file(1_000_000_000).is_same_file(5, there(2_000_000_000)));
    assert!(!file(1_500_000_000).is_same_file(6, there(1_500_000_000)));
}
