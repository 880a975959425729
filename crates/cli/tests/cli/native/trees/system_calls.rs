//! What a small file costs at either end, counted call by call.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::support::{Grove, told, traced};
use crate::native::support::{Got, got};
use crate::support::{begun_call, needs, needs_root};

/// Files of a small and of a larger tree; both have as many folders.
const FEW: u64 = 200;
const MANY: u64 = 1_200;
const FOLDERS: u64 = 10;

/// System calls by their names.
type Counts = BTreeMap<String, u64>;

/// What one run made at either end.
struct Traces {
    client: Trace,
    server: Trace,
}

/// What `strace -f -y` wrote of a process.
struct Trace(String);

impl Trace {
    fn read(path: &Path) -> Self {
        Self(std::fs::read_to_string(path).unwrap())
    }

    /// The lines that begin a call, and the names of the calls.
    fn calls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| Some((line, begun_call(line)?.0)))
    }

    /// The calls that name a file of the tree, or are about one that is open. Not what goes over the wire, which has
    /// names too; nor what the standard library adds to each `close` where it is built for debugging.
    fn on_files(&self) -> Counts {
        let is_other = |name: &str| ["sendto", "recvfrom", "fcntl"].contains(&name);
        let mut counts = Counts::new();
        for (_, name) in self.calls().filter(|(line, name)| names_a_file(line) && !is_other(name)) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        counts
    }

    /// All that name no file.
    fn others(&self) -> u64 {
        self.calls().filter(|(line, _)| !names_a_file(line)).count() as u64
    }
}

fn names_a_file(line: &str) -> bool {
    line.contains("file 0")
}

/// Follows a running process into a file until it is asked for it.
struct Tracer {
    strace: Child,
    path: PathBuf,
}

impl Tracer {
    fn attach(process: u32, path: PathBuf) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "300", "-p", &process.to_string(), "-o"]).arg(&path);
        let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(strace.stderr.as_mut().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        Self { strace, path }
    }

    fn trace(mut self) -> Trace {
        kill_process(Pid::from_child(&self.strace), Signal::INT).unwrap();
        self.strace.wait().unwrap();
        Trace::read(&self.path)
    }
}

/// A served tree of so many files.
fn with_files(files: u64) -> Grove {
    let grove = Grove::new();
    for number in 0..files {
        let path = format!("folder {}/file {number:05}", number % FOLDERS);
        grove.serve(&path, &[b'x'; 90]);
    }
    grove
}

/// Fetches into `folder` with both ends traced.
async fn fetched(grove: &Grove, folder: &str, args: &[&str]) -> (Traces, Got) {
    let tracer = Tracer::attach(grove.server.id(), grove.path("trace of the server"));
    // A connection that was lost to a slow machine would cost calls too.
    let fixed = ["--no-sync", "-j2", "--timeout", "600"];
    let get = grove.get_with(folder, &[&fixed[..], args].concat());
    let got = got(traced(grove, &["-y", "-s", "300"], &get)).await;
    assert_eq!(got.code, Some(0), "{got:?}");
    let (client, server) = (Trace::read(&grove.path("trace")), tracer.trace());
    (Traces { client, server }, got)
}

/// Fails unless each file took just these calls, and all the rest grew with the bytes and not with the files.
fn assert_each(few: &Trace, many: &Trace, each: &[(&str, u64)], what: &str) {
    for (trace, files) in [(few, FEW), (many, MANY)] {
        let expected: Counts =
            each.iter().map(|&(name, calls)| (name.to_owned(), calls * files)).collect();
        assert_eq!(trace.on_files(), expected, "{what}, {files} files");
    }
    let grown = many.others().saturating_sub(few.others());
    assert!(grown < (MANY - FEW) / 4, "{what}: {grown} more calls for {} files", MANY - FEW);
}

/// Which of the syncs and renames were made, in order; those that follow one another are told once.
async fn syncs_and_renames(grove: &Grove, folder: &str) -> Vec<String> {
    let get = grove.get_with(folder, &["-j2"]);
    let of_interest = ["-e", "trace=syncfs,fsync,renameat2"];
    let got = got(traced(grove, &of_interest, &get)).await;
    assert_eq!(got.code, Some(0), "{got:?}");
    let trace = Trace::read(&grove.path("trace"));
    let mut names: Vec<_> = trace.calls().map(|(_, name)| name.to_owned()).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn a_tree_is_synced_before_it_gets_its_name_and_so_is_the_name() {
    if !needs("strace") {
        return;
    }
    let grove = Grove::with_files(300, 4_096);
    // One sync for all, then the one rename, then the folder that holds it.
    assert_eq!(syncs_and_renames(&grove, "new").await, ["syncfs", "renameat2", "fsync"]);
    // Into an existing tree: the contents, their names, and the names' folders.
    std::fs::create_dir_all(grove.path("existing/tree")).unwrap();
    let existing = syncs_and_renames(&grove, "existing").await;
    assert_eq!(existing, ["syncfs", "renameat2", "syncfs", "fsync"]);
}

#[tokio::test]
async fn a_small_file_takes_the_same_few_system_calls_at_either_end_however_many_there_are() {
    // To follow a process that is no child takes root on many systems.
    if !needs("strace") || !needs_root() {
        return;
    }
    let (few, many) = (with_files(FEW), with_files(MANY));
    // Listed by one look; opened, read, and looked at before and after that, so that no two versions mix.
    let sent = [("newfstatat", 2), ("openat", 1), ("read", 1), ("fstat", 1), ("close", 1)];
    let written = [("openat", 1), ("write", 1), ("utimensat", 1), ("close", 1)];
    // Beside those: what is there is looked at, and each gets its name by itself.
    let put_in_place = [&written[..], &[("newfstatat", 1), ("renameat2", 1)]].concat();
    for (folder, is_there, here) in [("new", false, &written[..]), ("there", true, &put_in_place)] {
        let mut traces = Vec::new();
        for grove in [&few, &many] {
            if is_there {
                std::fs::create_dir_all(grove.path(folder).join("tree")).unwrap();
            }
            traces.push(fetched(grove, folder, &[]).await.0);
        }
        assert_each(&traces[0].client, &traces[1].client, here, &format!("{folder}, here"));
        assert_each(&traces[0].server, &traces[1].server, &sent, &format!("{folder}, there"));
    }
    // Once more, with nothing to do: one look at either end.
    let (one, _) = fetched(&few, "new", &[]).await;
    let (other, again) = fetched(&many, "new", &[]).await;
    assert_eq!((told(&again, "files"), told(&again, "same_files")), (0, MANY));
    assert_each(&one.client, &other.client, &[("newfstatat", 1)], "again, here");
    assert_each(&one.server, &other.server, &[("newfstatat", 1)], "again, there");
}

#[tokio::test]
async fn what_is_left_out_is_not_even_looked_at_on_the_server() {
    if !needs("strace") || !needs_root() {
        return;
    }
    let grove = with_files(FEW);
    grove.serve("secrets/deep/inside", b"secret");
    let args = ["--exclude", "secrets/", "--exclude", "file 000*"];
    let (traces, got) = fetched(&grove, "new", &args).await;
    assert_eq!(told(&got, "files"), FEW - 100);
    for (line, _) in traces.server.calls() {
        let is_left_out = ["/secrets", "\"secrets", "file 000"].iter().any(|n| line.contains(n));
        // The rules come over the wire, and only there.
        assert!(!is_left_out || line.contains("recvfrom("), "{line}");
    }
}

#[tokio::test]
async fn where_no_rename_refuses_to_replace_and_nothing_has_links_files_get_their_names_all_the_same()
 {
    if !needs("strace") {
        return;
    }
    let grove = Grove::with_files(20, 100);
    grove.serve_file("tree/large", 3 << 20);
    let no_such_rename = ["-e", "trace=renameat2,linkat", "-e", "inject=renameat2:error=EINVAL"];
    for (folder, no_links) in [("one", &[][..]), ("other", &["-e", "inject=linkat:error=EPERM"])] {
        std::fs::create_dir_all(grove.path(folder).join("tree")).unwrap();
        let get = grove.get_with(folder, &["--no-sync"]);
        let got = got(traced(&grove, &[&no_such_rename[..], no_links].concat(), &get)).await;
        assert_eq!(got.code, Some(0), "{got:?}");
        grove.assert_got(folder);
    }
}
