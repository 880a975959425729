//! `towline hash`.

use std::process::{Command, Stdio};

use crate::support::{Site, run};

#[test]
fn files_and_folders_are_hashed_in_order() {
    let site = Site::new();
    let folder = site.path("tree");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for (name, content) in [("b", "abc"), ("a", ""), ("sub/c", "abc")] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("a", folder.join("link")).unwrap();
    let ran = run(&mut site.towline(["hash", "tree"]));
    let empty = format!("blake3:{}  md5:d41d8cd98f00b204e9800998ecf8427e", blake3::hash(b""));
    let abc = format!("blake3:{}  md5:900150983cd24fb0d6963f7d28e17f72", blake3::hash(b"abc"));
    assert_eq!(ran.stdout, format!("{empty}  tree/a\n{abc}  tree/b\n{abc}  tree/sub/c\n"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn many_files_come_out_in_order_and_as_json() {
    let site = Site::new();
    for file in 0..200 {
        std::fs::write(site.path(&format!("server_files/{file:03}")), file.to_string()).unwrap();
    }
    let ran = run(&mut site.towline(["hash", "--json", "server_files"]));
    let expected: Vec<_> = (0..200)
        .map(|file| {
            let content = file.to_string();
            let (size, blake3) = (content.len(), blake3::hash(content.as_bytes()));
            let md5 = md5_of(&site, file);
            let path = format!("server_files/{file:03}");
            format!(r#"{{"path":"{path}","size":{size},"blake3":"{blake3}","md5":"{md5}"}}"#)
        })
        .collect();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
}

fn md5_of(site: &Site, file: i32) -> towline_proto::digest::Md5Digest {
    let file = std::fs::File::open(site.path(&format!("server_files/{file:03}"))).unwrap();
    towline_store::hashing::hash_file(&file, |_| ()).unwrap().md5
}

#[test]
fn what_cannot_be_hashed_is_told_and_does_not_stop_the_rest() {
    let site = Site::new();
    std::fs::write(site.path("good"), "abc").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let ran = run(&mut site.towline(["hash", "missing", "fifo", "good"]));
    assert_eq!(ran.code, Some(23), "{ran:?}");
    assert!(ran.stderr.contains("missing") && ran.stderr.contains("fifo"), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    assert_eq!(run(&mut site.towline(["hash", "missing"])).code, Some(3));
    assert_eq!(run(&mut site.towline(["hash", "fifo"])).code, Some(7));
}

#[test]
fn names_are_escaped() {
    let site = Site::new();
    std::fs::write(site.path("server_files/\u{1b}[2J\n"), "").unwrap();
    let ran = run(&mut site.towline(["hash", "server_files"]));
    assert!(ran.stdout.ends_with("server_files/\\u{1b}[2J\\n\n"), "{ran:?}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let site = Site::new();
    for file in 0..1_000 {
        std::fs::write(site.path(&format!("server_files/{file}")), "x").unwrap();
    }
    let hash = site.towline(["hash", "server_files"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" | head -n 1", "sh"]).arg(hash.get_program()).args(hash.get_args());
    shell.current_dir(site.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = run(&mut shell);
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""));
}
