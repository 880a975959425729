//! File systems that cannot hold all names, or take some for the same.

use std::path::Path;

use super::support::{Grove, failed, told};
use crate::native::mounted::{Mounted, has_own_mounts};
use crate::native::support::{Got, got};

/// What is at a path, in words.
fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The paths that failed, in order.
fn failed_paths(got: &Got) -> Vec<&str> {
    let mut paths: Vec<_> = failed(got).into_iter().map(|(path, _)| path).collect();
    paths.sort_unstable();
    paths
}

/// Serves names that collide and names that cannot be held, among a good one.
fn serve_odd_names(grove: &Grove) {
    for path in ["A", "a", "FOLDER/1", "folder/2", "good", "sub/X", "sub/x", "what?", "x:y"] {
        grove.serve(path, path.as_bytes());
    }
}

#[tokio::test]
async fn names_that_collide_or_cannot_be_held_are_told_and_nothing_is_replaced() {
    const NAME: &str = "native::trees::names::names_that_collide_or_cannot_be_held_are_told_and_nothing_is_replaced";
    if !has_own_mounts(NAME) {
        return;
    }
    let grove = Grove::new();
    let Some(_mounted) = Mounted::without_case(&grove.path("image"), &grove.path("disk")) else {
        return;
    };
    serve_odd_names(&grove);
    let tree = grove.path("disk/tree");
    // New; then with all that can be there there; then asked to replace what differs.
    let new = got(grove.get("disk")).await;
    assert_eq!((new.code, told(&new, "files")), (Some(23), 4), "{new:?}");
    assert_eq!(failed_paths(&new), ["a", "folder", "sub/x", "what?", "x:y"]);
    assert!(failed(&new).iter().any(|(_, why)| why.contains("another one's for the same")));
    assert!(failed(&new).iter().any(|(_, why)| why.contains("cannot hold the name")));
    for args in [&["--no-sync"][..], &["--no-sync", "-f"], &["--no-sync", "-f", "--checksum"]] {
        let again = got(grove.get_with("disk", args)).await;
        assert_eq!((again.code, told(&again, "same_files")), (Some(23), 4), "{again:?}");
        assert_eq!(failed_paths(&again), ["a", "folder", "sub/x", "what?", "x:y"], "{args:?}");
        for path in ["A", "FOLDER/1", "good", "sub/X"] {
            assert_eq!(text(&tree.join(path)), path, "{args:?}");
        }
    }
    // Into a tree that is there and has nothing of it, where each file gets its name by itself.
    let other = grove.path("disk/other/tree");
    std::fs::create_dir_all(&other).unwrap();
    let empty = got(grove.get_with("disk/other", &["--no-sync", "-f"])).await;
    assert_eq!(empty.code, Some(23), "{empty:?}");
    assert_eq!((text(&other.join("A")), text(&other.join("sub/X"))), ("A".into(), "sub/X".into()));
    let left = |folder: &str| std::fs::read_dir(grove.path(folder)).unwrap().count();
    assert_eq!((left("disk"), left("disk/other")), (2, 1), "what it was built in is gone");
}
