//! Walks over real folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Depth, EntryKind, Rule, Verdict};

use super::{Found, Held, Step, Walk, WalkError};
use crate::beneath::Links;
use crate::filter::Filter;
use crate::local::{LocalRoot, OpenError};

fn name(text: &str) -> RemoteName {
    RemoteName::parse(text.as_bytes()).unwrap()
}

fn no_rules() -> Filter {
    Filter::new(&[]).unwrap()
}

fn rules(lines: &[(Verdict, &str)]) -> Filter {
    let rule = |&(verdict, pattern): &(Verdict, &str)| Rule { verdict, pattern: pattern.into() };
    Filter::new(&lines.iter().map(rule).collect::<Vec<_>>()).unwrap()
}

fn root(folder: &Path, links: Links) -> Arc<LocalRoot> {
    Arc::new(LocalRoot::open(folder, links).unwrap())
}

/// A walk over the whole of a folder.
fn walk(folder: &Path, after: Option<&str>, filter: Filter) -> Walk {
    Walk::start(root(folder, Links::Refuse), None, after.map(name), Depth::Tree, filter).unwrap()
}

/// What comes next; `None` at the end.
fn next(walk: &mut Walk) -> Option<Found> {
    loop {
        match walk.step(&|| true).unwrap() {
            Step::Found(found) => return Some(found),
            Step::Nothing => {}
            Step::End => return None,
        }
    }
}

fn all(mut walk: Walk) -> Vec<Found> {
    std::iter::from_fn(|| next(&mut walk)).collect()
}

fn paths(walk: Walk) -> Vec<String> {
    all(walk).into_iter().map(|found| found.path.to_string()).collect()
}

/// A tree with whatever makes an order of whole paths wrong.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in ["a/b/c/d", "a/b/c.x", "a/b!", "a!", "a.b/c", "b", "c/d/e", "c/d!", "é/x"] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }
    fs::create_dir_all(folder.path().join("empty/emptier")).unwrap();
    symlink("b", folder.path().join("link")).unwrap();
    folder
}

#[test]
fn a_tree_is_walked_in_order_and_each_folder_comes_before_what_is_in_it() {
    let folder = tree();
    let found = all(walk(folder.path(), None, no_rules()));
    assert!(found.is_sorted_by(|a, b| a.path.cmp_in_tree(&b.path).is_lt()));
    assert_eq!(found.len(), 9 + 5 + 3 + 2, "{found:?}");
    assert!(found.iter().all(|found| found.error.is_none()));
    let of = |path: &str| &found.iter().find(|found| found.path == name(path)).unwrap().kind;
    assert_eq!(*of("a/b"), EntryKind::Folder);
    assert_eq!(*of("a/b/c.x"), EntryKind::File { size: 7, sparse: false });
    assert_eq!(*of("link"), EntryKind::Link { target: b"b".to_vec() });
}

#[test]
fn a_walk_behind_any_path_goes_on_as_the_whole_one_does() {
    let folder = tree();
    let whole = paths(walk(folder.path(), None, no_rules()));
    for (index, path) in whole.iter().enumerate() {
        assert_eq!(
            paths(walk(folder.path(), Some(path), no_rules())),
            whole[index + 1..],
            "{path}"
        );
    }
    // Nor need what it goes on behind exist.
    for (gone, next) in [("a/b/c/z", "a/b/c.x"), ("b/x/y", "c"), ("c/d/z", "c/d!"), ("zz", "é")] {
        let rest = paths(walk(folder.path(), Some(gone), no_rules()));
        assert_eq!(rest.first().unwrap(), next, "{gone}");
    }
}

#[test]
fn names_put_aside_on_the_disk_come_in_the_same_order() {
    let folder = tree();
    for index in 0..3_000_u32 {
        fs::write(folder.path().join(format!("a/b/{}", index * 7_919 % 3_001)), "").unwrap();
    }
    let whole = paths(walk(folder.path(), None, no_rules()));
    let mut small = walk(folder.path(), None, no_rules());
    small.names_bytes_max = 2_000;
    assert_eq!(paths(small), whole);
    let mut small = walk(folder.path(), Some("a/b/1500"), no_rules());
    small.names_bytes_max = 2_000;
    let at = whole.iter().position(|path| path == "a/b/1500").unwrap();
    assert_eq!(paths(small), whole[at + 1..]);
}

#[test]
fn only_the_folder_itself_is_listed_where_no_tree_is_wanted() {
    let folder = tree();
    let start = |of: Option<&RemoteName>, after| {
        let root = root(folder.path(), Links::Refuse);
        Walk::start(root, of, after, Depth::Folder, no_rules()).unwrap()
    };
    let top = ["a", "a!", "a.b", "b", "c", "empty", "link", "é"];
    assert_eq!(paths(start(None, None)), top);
    assert_eq!(paths(start(Some(&name("a/b")), None)), ["c", "c.x"]);
    assert_eq!(paths(start(None, Some(name("a/b")))), top[1..]);
}

#[test]
fn the_folder_must_be_one() {
    let folder = tree();
    let start = |of: &str| {
        let root = root(folder.path(), Links::Refuse);
        Walk::start(root, Some(&name(of)), None, Depth::Tree, no_rules()).map(|_| ())
    };
    assert!(matches!(start("b"), Err(OpenError::NotAFolder)));
    assert!(matches!(start("nowhere"), Err(OpenError::NotFound)));
    assert!(matches!(start("b/below"), Err(OpenError::NotFound)));
    assert!(matches!(start("link"), Err(OpenError::SymbolicLink)));
}

#[test]
fn rules_say_what_is_listed() {
    let folder = tree();
    let listed = |lines: &[(Verdict, &str)]| paths(walk(folder.path(), None, rules(lines)));
    assert_eq!(
        listed(&[(Verdict::Include, "*.x"), (Verdict::Exclude, "/é")]),
        ["a", "a/b", "a/b/c", "a/b/c.x", "a.b", "c", "c/d", "empty", "empty/emptier"]
    );
    assert_eq!(listed(&[(Verdict::Exclude, "a*"), (Verdict::Exclude, "/[c-é]*")]), ["b"]);
}

#[test]
fn a_folder_that_is_left_out_is_not_opened() {
    let folder = tree();
    let left_out = ["b/", "c/", "emptier/"].map(|pattern| (Verdict::Exclude, pattern));
    let mut walk = walk(folder.path(), None, rules(&left_out));
    let mut deepest = 0;
    while next(&mut walk).is_some() {
        deepest = deepest.max(walk.held().folders);
    }
    // The served folder, and `a`, whose `b` is left out.
    assert_eq!(deepest, 2);
}

#[test]
fn unfinished_transfers_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".x.towline-part"), "").unwrap();
    fs::create_dir_all(folder.path().join("sub/.y.towline-part/z")).unwrap();
    assert_eq!(paths(walk(folder.path(), None, no_rules())), ["sub"]);
}

#[test]
fn special_files_are_told_without_being_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, folder.path().join("fifo"), FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let found = all(walk(folder.path(), None, no_rules()));
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|found| found.kind == EntryKind::Other && found.error.is_none()));
}

#[test]
fn links_are_told_and_not_followed() {
    let folder = tree();
    symlink("a", folder.path().join("to-a")).unwrap();
    symlink("/", folder.path().join("out")).unwrap();
    let found = all(walk(folder.path(), None, no_rules()));
    let links = found.iter().filter(|found| matches!(found.kind, EntryKind::Link { .. }));
    assert_eq!(
        links.map(|found| found.path.to_string()).collect::<Vec<_>>(),
        ["link", "out", "to-a"]
    );
    assert!(!found.iter().any(|found| found.path.to_string().starts_with("to-a/")));
}

#[test]
fn links_that_are_followed_stay_inside_and_never_lead_round_in_circles() {
    let folder = tree();
    for (link, target) in [
        ("to-a", "a"),
        ("a/b/up", "../.."),
        ("a/b/self", "."),
        ("dangling", "nowhere"),
        ("out", "/"),
        ("loop", "loop"),
    ] {
        symlink(target, folder.path().join(link)).unwrap();
    }
    let root = root(folder.path(), Links::FollowInside);
    let found = all(Walk::start(root, None, None, Depth::Tree, no_rules()).unwrap());
    let of = |path: &str| &found.iter().find(|found| found.path == name(path)).unwrap().kind;
    assert_eq!(*of("link"), EntryKind::File { size: 7, sparse: false });
    assert_eq!(*of("to-a"), EntryKind::Folder);
    assert_eq!(*of("to-a/b/c/d"), EntryKind::File { size: 7, sparse: false });
    for link in ["a/b/up", "a/b/self", "to-a/b/up", "dangling", "out", "loop"] {
        assert!(matches!(of(link), EntryKind::Link { .. }), "{link}");
    }
}

#[test]
fn a_folder_that_becomes_a_link_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "").unwrap();
    let folder = tree();
    let mut walk = walk(folder.path(), None, no_rules());
    // The names at the top are read by now, and say that `c` is a folder.
    assert_eq!(next(&mut walk).unwrap().path, name("a"));
    fs::rename(folder.path().join("c"), outside.path().join("c")).unwrap();
    symlink(outside.path(), folder.path().join("c")).unwrap();
    let found = all(walk);
    let of = |path: &str| found.iter().find(|found| found.path == name(path));
    assert!(matches!(of("c").unwrap().kind, EntryKind::Link { .. }));
    assert!(of("c/secret").is_none());
}

#[test]
fn what_is_gone_by_the_time_it_is_looked_at_is_not_there() {
    let folder = tree();
    let mut walk = walk(folder.path(), None, no_rules());
    assert_eq!(next(&mut walk).unwrap().path, name("a"));
    fs::remove_file(folder.path().join("b")).unwrap();
    fs::remove_dir_all(folder.path().join("c")).unwrap();
    assert!(!paths(walk).iter().any(|path| path == "b" || path.starts_with('c')));
}

#[test]
fn paths_that_nobody_could_ask_for_are_left_out_and_the_walk_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let deep = vec!["d"; 258].join("/");
    fs::create_dir_all(folder.path().join(deep)).unwrap();
    fs::write(folder.path().join("e"), "").unwrap();
    let paths = paths(walk(folder.path(), None, no_rules()));
    assert_eq!(paths.len(), 256 + 1);
    assert_eq!(paths.last().unwrap(), "e");
}

#[test]
fn a_walk_that_is_not_wanted_ends() {
    let folder = tree();
    let mut walk = walk(folder.path(), None, no_rules());
    assert!(next(&mut walk).is_some());
    assert!(matches!(walk.step(&|| false), Err(WalkError::GivenUp)));
}

#[test]
fn a_walk_can_stand_still_also_where_nothing_belongs_to_it() {
    let folder = tree();
    let mut walk = walk(folder.path(), None, rules(&[(Verdict::Exclude, "*")]));
    // The eight names at the top, and the end of the folder.
    for _ in 0..9 {
        assert!(matches!(walk.step(&|| true), Ok(Step::Nothing)));
    }
    assert!(matches!(walk.step(&|| true), Ok(Step::End)));
}

#[test]
fn what_a_walk_holds_is_told() {
    let folder = tree();
    let mut walk = walk(folder.path(), None, no_rules());
    assert_eq!(walk.held(), Held::default());
    while next(&mut walk).unwrap().path != name("a/b/c/d") {}
    let Held { folders, names_bytes, spilled_bytes } = walk.held();
    assert_eq!((folders, spilled_bytes), (4, 0));
    assert!((30..1_000).contains(&names_bytes), "{names_bytes}");
    assert_eq!(std::iter::from_fn(|| next(&mut walk)).count(), 15);
    assert_eq!(walk.held(), Held::default());
}

#[test]
fn what_a_walk_put_aside_is_told() {
    let folder = tree();
    let mut walk = walk(folder.path(), None, no_rules());
    walk.names_bytes_max = 0;
    assert!(next(&mut walk).is_some());
    // Eight names at the top, of 19 bytes together, each with its length and what it is; and some below.
    assert!(walk.held().spilled_bytes > 19 + 8 * 3);
    while next(&mut walk).is_some() {}
    assert_eq!(walk.held(), Held::default());
}
