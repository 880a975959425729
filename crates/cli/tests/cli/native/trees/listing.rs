//! `towline ls`, and `towline get` of many URLs and patterns.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use towline_proto::escape::is_hidden;
use towline_testkit::chaos::{ChaosProxy, Plan};

use super::support::Grove;
use crate::native::support::{MIB, got, most_memory};
use crate::support::{is_full, run};

impl Grove {
    /// `towline ls` of a path with these arguments.
    fn ls(&self, path: &str, args: &[&str]) -> Command {
        let url = format!("{}/{path}", self.server.addr());
        let fixed = ["ls", "--plain", &url];
        self.towline(fixed.into_iter().chain(args.iter().copied()))
    }

    /// The lines that it prints.
    fn lines(&self, path: &str, args: &[&str]) -> Vec<String> {
        let ran = run(&mut self.ls(path, args));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.lines().map(str::to_owned).collect()
    }

    /// `towline get` of these paths into `folder`.
    fn get_many(&self, paths: &[&str], args: &[&str]) -> Command {
        let urls: Vec<_> =
            paths.iter().map(|path| format!("{}/{path}", self.server.addr())).collect();
        let fixed = ["get", "--plain", "--json", "--no-sync"];
        let urls = urls.iter().map(String::as_str);
        self.towline(fixed.into_iter().chain(urls).chain(args.iter().copied()))
    }
}

fn with_logs() -> Grove {
    let grove = Grove::new();
    for (path, content) in [("b.gz", "bb"), ("a.gz", "a"), ("a.txt", "text"), ("old/c.gz", "c")] {
        grove.serve(path, content.as_bytes());
    }
    grove
}

#[test]
fn a_folder_is_listed_in_order_with_folders_marked() {
    let grove = with_logs();
    assert_eq!(grove.lines("tree", &[]), ["a.gz", "a.txt", "b.gz", "old/"]);
    assert_eq!(grove.lines("tree/", &["-R"]), ["a.gz", "a.txt", "b.gz", "old/", "old/c.gz"]);
    assert_eq!(grove.lines("", &[]), ["tree/"]);
    assert_eq!(grove.lines("tree/*.gz", &[]), ["a.gz", "b.gz"]);
    assert_eq!(grove.lines("tree/%61.gz", &[]), ["tree/a.gz"], "a file is listed as itself");
    let without = ["-R", "--exclude", "*.gz", "--include", "a.gz"];
    assert_eq!(grove.lines("tree", &without), ["a.gz", "a.txt", "old/"]);
    assert_eq!(grove.lines("tree", &["--include", "*.txt"]), ["a.txt", "old/"]);
}

#[test]
fn a_long_listing_has_permissions_size_and_time() {
    let grove = with_logs();
    let served = grove.path("server_files/tree");
    std::fs::set_permissions(served.join("a.txt"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("a.txt", served.join("link")).unwrap();
    let lines = grove.lines("tree", &["-l"]);
    let line = |name: &str| lines.iter().find(|line| line.contains(name)).unwrap();
    assert!(line("a.txt").starts_with("-rw-r-----              4  2"), "{lines:?}");
    assert!(line("old/").starts_with('d') && line("link").ends_with("link -> a.txt"), "{lines:?}");
}

#[test]
fn programs_get_an_object_for_each_entry_also_of_odd_names() {
    let grove = with_logs();
    let odd = grove.path("server_files/tree").join(OsStr::from_bytes(b"\xff\n\x1b[2J"));
    std::fs::write(odd, "odd").unwrap();
    let lines = grove.lines("tree", &["--json"]);
    let entries: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 5);
    let of = |path: &str| entries.iter().find(|entry| entry["path"] == path).unwrap();
    let file = of("a.txt");
    assert_eq!((&file["kind"], file["size"].as_u64()), (&"file".into(), Some(4)));
    assert_eq!((&file["mode"], &of("old")["kind"]), (&"0644".into(), &"folder".into()));
    let odd = entries.iter().find(|entry| entry["path_hex"] == "ff0a1b5b324a");
    assert!(odd.is_some(), "{lines:?}");
    let plain = grove.lines("tree", &[]).join("");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn no_name_acts_on_a_terminal_whatever_is_told_of_it_and_where() {
    let grove = Grove::new();
    let hostile = ["\u{1b}]0;x\u{7}", "\u{9b}2J", "\u{202e}gpj", "\u{7f}\r", "\u{200b}"];
    let here = grove.path("here/tree");
    std::fs::create_dir_all(&here).unwrap();
    for (number, name) in hostile.into_iter().enumerate() {
        grove.serve_file(&format!("tree/{number}{name}.bin"), 3 * MIB);
        grove.serve(&format!("{number}{name}.txt"), b"theirs");
        for end in ["bin", "txt"] {
            std::fs::write(here.join(format!("{number}{name}.{end}")), "mine").unwrap();
        }
    }
    let url = |path: &str| format!("{}/{path}", grove.server.addr());
    let fixed = ["--plain", "--log-dir", "logs"];
    let mut told = String::new();
    for (command, path) in [
        // What is listed, what fails, and what comes; for people and for programs.
        (&["ls", "-l"][..], "tree"),
        (&["get", "-r", "--checksum", "-d", "here"], "tree"),
        (&["get", "-d", "here/tree"], "tree/*"),
        (&["get", "-d", "new"], "tree/*"),
        (&["get", "-d", "new"], "tree/*"),
        (&["get", "-r", "-d", "new"], "tree"),
    ] {
        for json in [&[][..], &["--json"]] {
            let url = url(path);
            let args = command.iter().chain(&fixed).chain(json).copied().chain([&url[..]]);
            let ran = run(&mut grove.towline(args));
            told += &(ran.stdout + &ran.stderr);
        }
    }
    for word in ["ls", "get"] {
        told += &grove.log(word);
    }
    assert!(told.contains("exists already") && told.contains("up to date"), "{told:?}");
    let acting = |character: char| character != '\n' && is_hidden(character);
    let place = told.find(acting).unwrap_or(told.len());
    let line = told[..place].lines().last();
    assert!(place == told.len(), "{:?} after {line:?}", told[place..].chars().next());
}

#[test]
fn what_is_not_there_is_told_and_exits_3() {
    let grove = with_logs();
    for path in ["nothing", "tree/*.zip", "tree/nothing/"] {
        let ran = run(&mut grove.ls(path, &[]));
        assert_eq!((ran.code, &ran.stdout[..]), (Some(3), ""), "{path}: {ran:?}");
    }
    let ran = run(&mut grove.ls("tree", &["--exclude", "[z-a]"]));
    assert!(ran.code == Some(2) && ran.stderr.contains("[z-a]"), "{ran:?}");
}

#[test]
fn a_folder_of_very_many_names_takes_up_little_memory_on_the_server() {
    // Their names alone are several times what a listing keeps in memory.
    let count = if is_full() { 400_000 } else { 60_000 };
    let grove = Grove::new();
    let served = grove.path("server_files/tree");
    let name = |number: u64| format!("{:06}{}", number * 7_919 % count, "n".repeat(240));
    for number in 0..count {
        std::fs::File::create(served.join(name(number))).unwrap();
    }
    let before = most_memory(grove.server.id()).unwrap();
    let mut listing = grove.ls("tree", &[]).spawn().unwrap();
    let lines = BufReader::new(listing.stdout.take().unwrap()).lines();
    let (mut listed, mut last) = (0, String::new());
    for line in lines.map(Result::unwrap) {
        assert!(line > last, "{line} comes after {last}");
        (listed, last) = (listed + 1, line);
    }
    assert_eq!((listing.wait().unwrap().success(), listed), (true, count));
    let taken = most_memory(grove.server.id()).unwrap() - before;
    assert!(taken < 48 * MIB, "{taken} bytes of memory for {count} names");
}

#[tokio::test]
async fn many_urls_and_patterns_come_in_one_command() {
    let grove = with_logs();
    let many = got(grove.get_many(&["tree/*.gz", "tree/a.txt"], &["-d", "new"])).await;
    assert_eq!(many.code, Some(0), "{many:?}");
    assert_eq!(grove.leaves("new").into_keys().collect::<Vec<_>>(), ["a.gz", "a.txt", "b.gz"]);
    let both = got(grove.get_many(&["tree/*"], &["-r", "-d", "all"])).await;
    assert_eq!(both.code, Some(0), "{both:?}");
    let all = ["a.gz", "a.txt", "b.gz", "old", "old/c.gz"];
    assert_eq!(grove.leaves("all").into_keys().collect::<Vec<_>>(), all);
}

#[tokio::test]
async fn files_of_one_command_come_over_the_same_connection() {
    let grove = with_logs();
    let proxy = ChaosProxy::start(grove.server.addr(), |_| Plan::clean()).await;
    let urls =
        ["tree/a.gz", "tree/nothing", "tree/a.txt"].map(|path| format!("{}/{path}", proxy.addr()));
    let args = ["get", "--plain", "--json", "--no-sync", "-j1", "-d", "new"];
    let got = got(grove.towline(args.into_iter().chain(urls.iter().map(|url| &url[..])))).await;
    assert_eq!(got.code, Some(23), "{got:?}");
    assert_eq!(grove.leaves("new").into_keys().collect::<Vec<_>>(), ["a.gz", "a.txt"]);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn one_url_that_fails_does_not_stop_the_rest() {
    let grove = with_logs();
    let some =
        got(grove.get_many(&["tree/a.gz", "tree/nothing", "tree/b.gz"], &["-d", "new"])).await;
    some.assert_failed(23);
    assert_eq!(grove.leaves("new").into_keys().collect::<Vec<_>>(), ["a.gz", "b.gz"]);
    assert!(some.stderr.contains("no such file: tree/nothing"), "{}", some.stderr);
    let alone = got(grove.get_many(&["tree/nothing"], &["-d", "new"])).await;
    alone.assert_failed(3);
    let alike = got(grove.get_many(&["tree/nothing", "tree/nobody"], &["-d", "new"])).await;
    alike.assert_failed(3);
    got(grove.get_many(&["tree/*.zip"], &["-d", "new"])).await.assert_failed(3);
}

#[tokio::test]
async fn files_that_r_brings_are_brought_again_or_are_up_to_date() {
    let grove = with_logs();
    let get = |args: &[&str]| got(grove.get_many(&["tree/*", "tree/a.gz"], args));
    for _ in 0..2 {
        let all = get(&["-r", "-d", "new"]).await;
        assert_eq!(all.code, Some(0), "{all:?}");
    }
    grove.serve("a.gz", b"another");
    get(&["-r", "-d", "new"]).await.assert_failed(23);
    assert_eq!(get(&["-r", "-d", "new", "-f"]).await.code, Some(0));
    assert_eq!(std::fs::read(grove.path("new/a.gz")).unwrap(), b"another");
}

#[test]
fn several_folders_are_listed_each_under_its_name_and_one_that_fails_does_not_stop_the_rest() {
    let grove = with_logs();
    let old = format!("{}/tree/old", grove.server.addr());
    let some = run(&mut grove.ls("tree/nothing", &[&old]));
    assert_eq!(some.code, Some(23), "{some:?}");
    assert!(some.stderr.contains("no such file: tree/nothing"), "{}", some.stderr);
    assert_eq!(some.stdout, "tree/nothing:\ntree/old:\nc.gz\n");
}

#[tokio::test]
async fn arguments_that_do_not_go_together_exit_2_and_a_folder_needs_r() {
    let grove = with_logs();
    got(grove.get_many(&["tree/*.gz"], &["-o", "one"])).await.assert_failed(2);
    got(grove.get_many(&["tree/"], &["-d", "new"])).await.assert_failed(2);
    let folders = got(grove.get_many(&["tree/o*"], &["-d", "new"])).await;
    folders.assert_failed(3);
    assert!(folders.stderr.contains("matches o*; -r fetches folders too"), "{}", folders.stderr);
    let slash = got(grove.get_many(&["tree/a.txt/"], &["-r", "-d", "new"])).await;
    slash.assert_failed(2);
    assert!(slash.stderr.contains("leave out the slash"), "{}", slash.stderr);
    let folder = got(grove.get_many(&["tree"], &["-d", "new"])).await;
    folder.assert_failed(2);
    assert!(folder.stderr.contains("get -r fetches folders"), "{}", folder.stderr);
    let file = got(grove.get_many(&["tree/a.txt"], &["-r", "-d", "new"])).await;
    assert_eq!(file.code, Some(0), "with -r, a file comes as well: {file:?}");
    assert_eq!(std::fs::read(grove.path("new/a.txt")).unwrap(), b"text");
}
