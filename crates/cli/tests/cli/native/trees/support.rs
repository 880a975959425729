//! A served tree to get from, and what came of it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use towline_testkit::process::ServerProcess;
use towline_testkit::random::Random;
use walkdir::WalkDir;

use crate::native::support::Got;
use crate::support::{Site, masked};

/// Bytes of a record of a tree's journal.
const RECORD_BYTES: u64 = 28;

/// A site whose server serves trees.
pub(super) struct Grove {
    site: Site,
    pub(super) server: ServerProcess,
}

impl Deref for Grove {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// What a path of a tree is: its kind, content, permissions and modification time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) kind: char,
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    pub(super) modified: (i64, i64),
}

impl Grove {
    /// Serves an empty folder called `tree`.
    pub(super) fn new() -> Self {
        let site = Site::new();
        std::fs::create_dir_all(site.path("server_files/tree")).unwrap();
        let server = site.server();
        Self { site, server }
    }

    /// Serves `count` files of up to `bytes_max`, in folders of ten.
    pub(super) fn with_files(count: u64, bytes_max: u64) -> Self {
        let grove = Self::new();
        let mut random = Random::from_seed(count);
        for number in 0..count {
            let mut content = vec![0; usize::try_from(random.below(bytes_max + 1)).unwrap()];
            random.fill(&mut content);
            grove.serve(&format!("folder {:03}/file {number:05}", number / 10), &content);
        }
        grove
    }

    /// Puts a file into the served tree.
    pub(super) fn serve(&self, path: &str, content: &[u8]) {
        let path = self.path("server_files/tree").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// `towline get -r` of the tree into `folder`.
    pub(super) fn get(&self, folder: &str) -> Command {
        self.get_with(folder, &["--no-sync"])
    }

    /// The same with these arguments.
    pub(super) fn get_with(&self, folder: &str, args: &[&str]) -> Command {
        let url = format!("{}/tree", self.server.addr());
        let fixed = ["get", "-r", "--plain", "--json", &url, "-d", folder];
        self.towline(fixed.into_iter().chain(args.iter().copied()))
    }

    /// `towline get -r` of the tree into `folder` by a user with this mask for new files.
    pub(super) fn get_masked(&self, folder: &str, umask: &str, args: &[&str]) -> Command {
        masked(umask, &self.get_with(folder, &[&["--no-sync"], args].concat()))
    }

    /// Fails unless `folder/tree` is what is served, to the last bit.
    pub(super) fn assert_got(&self, folder: &str) {
        let (served, here) =
            (self.leaves("server_files/tree"), self.leaves(&format!("{folder}/tree")));
        assert_eq!(served.keys().collect::<Vec<_>>(), here.keys().collect::<Vec<_>>());
        for (path, leaf) in &served {
            assert!(here[path] == *leaf, "{path}: {leaf:?} became {:?}", here[path]);
        }
    }

    /// All that is below a folder, by path.
    pub(super) fn leaves(&self, folder: &str) -> BTreeMap<String, Leaf> {
        let root = self.path(folder);
        let entries = WalkDir::new(&root).min_depth(1).into_iter().map(Result::unwrap);
        let path = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| (path(entry.path()), Leaf::of(entry.path()))).collect()
    }
}

impl Leaf {
    fn of(path: &Path) -> Self {
        let metadata = std::fs::symlink_metadata(path).unwrap();
        let (kind, content) = match metadata.file_type() {
            kind if kind.is_dir() => ('d', Vec::new()),
            kind if kind.is_file() => ('f', std::fs::read(path).unwrap()),
            kind if kind.is_symlink() => {
                ('l', std::fs::read_link(path).unwrap().into_os_string().into_encoded_bytes())
            }
            _ => ('?', Vec::new()),
        };
        // A link has no permissions, and its time is nobody's concern.
        let (mode, modified) = match kind {
            'l' => (0, (0, 0)),
            _ => (metadata.mode() & 0o7777, (metadata.mtime(), metadata.mtime_nsec())),
        };
        Self { kind, content, mode, modified }
    }
}

/// A command under strace, which writes to `trace`.
pub(super) fn traced(grove: &Grove, args: &[&str], command: &Command) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-o"]).arg(grove.path("trace")).args(args).arg(command.get_program());
    traced.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        traced.env(name, value.unwrap_or_default());
    }
    traced
}

/// A number of the event that tells the result.
pub(super) fn told(got: &Got, key: &str) -> u64 {
    let done = got.events.iter().find(|event| event["event"] == "done");
    done.and_then(|done| done[key].as_u64()).unwrap_or_else(|| panic!("no {key}: {got:?}"))
}

/// What failed, and why, as it was told.
pub(super) fn failed(got: &Got) -> Vec<(&str, &str)> {
    let failed = got.events.iter().filter(|event| event["event"] == "file_failed");
    failed
        .map(|event| (event["path"].as_str().unwrap(), event["error"].as_str().unwrap()))
        .collect()
}

/// How many files are noted as verified and written.
pub(super) fn noted(grove: &Grove, folder: &str) -> u64 {
    let tree = grove.path(folder).join("tree");
    let records = |building: &Path| {
        std::fs::metadata(building.join("journal"))
            .map_or(0, |journal| journal.len() / RECORD_BYTES)
    };
    if !tree.exists() {
        return records(&grove.path(folder).join("..tree.tree.towline-part.towline-part"));
    }
    // Into a tree that is there, folders are made at once, and noted as well.
    let is_shown =
        |entry: &walkdir::DirEntry| !entry.path().ends_with("...tree.towline-part.towline-part");
    let entries = WalkDir::new(&tree).min_depth(1).into_iter().filter_entry(is_shown);
    let folders = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_dir());
    records(&tree.join("...tree.towline-part.towline-part")).saturating_sub(folders.count() as u64)
}
