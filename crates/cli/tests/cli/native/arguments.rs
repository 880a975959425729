//! Where the result goes, what may be there already, and how a failure is told.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::support::{Ground, MIB, got};
use crate::support::run;

const SIZE: u64 = 2 * MIB + 5;

/// The hash of the served file.
fn hash(ground: &Ground) -> String {
    let ran = run(&mut ground.towline(["hash", "--json", "server_files/file"]));
    let hashed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    hashed["blake3"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_result_has_its_own_name_here_unless_told_otherwise() {
    let ground = Ground::with_file(SIZE);
    let url = format!("towline://{}/file", ground.server.addr());
    for (args, result) in [
        (&[][..], "file"),
        (&["-o", "other"], "other"),
        (&["-o", "new/folder/other"], "new/folder/other"),
        (&["-d", "into/this"], "into/this/file"),
    ] {
        got(ground.get_url(&url, args)).await.done();
        let content = std::fs::read(ground.path(result)).unwrap();
        assert!(content == std::fs::read(ground.served()).unwrap(), "{result}");
    }
}

#[tokio::test]
async fn a_name_of_odd_bytes_is_percent_encoded_and_kept_as_it_is() {
    let ground = Ground::with_file(SIZE);
    for (name, encoded) in [
        (&b"a b?c#d%e"[..], "a%20b%3Fc%23d%25e"),
        (b"\xff\xfe latin", "%FF%FE%20latin"),
        (b"\x1b[2J\nline", "%1B%5B2J%0Aline"),
        ("sn\u{f8}\u{1f40d}".as_bytes(), "sn\u{f8}\u{1f40d}"),
        (b"-o", "-o"),
        (&[b'x'; 255], &"x".repeat(255)),
    ] {
        let name = OsStr::from_bytes(name);
        std::fs::write(ground.path("server_files").join(name), encoded).unwrap();
        let url = format!("{}/{encoded}", ground.server.addr());
        let got = got(ground.get_url(&url, &["-d", "got"])).await;
        got.done();
        assert!(!got.stderr.contains('\x1b'), "{got:?}");
        assert_eq!(std::fs::read(ground.path("got").join(name)).unwrap(), encoded.as_bytes());
    }
}

#[tokio::test]
async fn the_same_content_is_up_to_date_and_nothing_moves() {
    for size in [0, 7, SIZE] {
        let ground = Ground::with_file(size);
        got(ground.get("got")).await.done();
        let done = got(ground.get("got")).await.done();
        assert_eq!((done.received_bytes, done.up_to_date), (0, true), "{size}");
        ground.assert_got("got", &done);
    }
}

#[tokio::test]
async fn another_content_is_not_replaced_unless_asked_for() {
    let ground = Ground::with_file(SIZE);
    std::fs::create_dir(ground.path("got")).unwrap();
    let same_size = vec![7; usize::try_from(SIZE).unwrap()];
    for precious in [b"precious".to_vec(), same_size] {
        std::fs::write(ground.path("got/file"), &precious).unwrap();
        got(ground.get("got")).await.assert_failed(8);
        assert!(std::fs::read(ground.path("got/file")).unwrap() == precious);
        let mut replacing = ground.get("got");
        replacing.arg("-f");
        let done = got(replacing).await.done();
        ground.assert_got("got", &done);
    }
}

#[tokio::test]
async fn a_folder_in_the_results_place_stays_also_with_f() {
    let ground = Ground::with_file(SIZE);
    std::fs::create_dir_all(ground.path("got/file")).unwrap();
    let mut replacing = ground.get("got");
    replacing.arg("-f");
    got(replacing).await.assert_failed(8);
    assert!(ground.path("got/file").is_dir());
}

#[tokio::test]
async fn a_missing_file_exits_3_and_leaves_nothing() {
    let ground = Ground::with_file(SIZE);
    let url = format!("{}/missing", ground.server.addr());
    let got = got(ground.get_url(&url, &["-d", "got"])).await;
    got.assert_failed(3);
    assert!(got.stderr.contains("missing"), "{got:?}");
    assert_eq!(ground.names("got"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_another_transfer_makes_exits_9_until_that_one_has_ended() {
    let ground = Ground::with_file(SIZE);
    let mut other = ground.stall("got", 1).await;
    got(ground.get("got")).await.assert_failed(9);
    other.client.kill().unwrap();
    other.client.wait().unwrap();
    let done = got(ground.get("got")).await.done();
    ground.assert_got("got", &done);
}

#[tokio::test]
async fn a_hash_that_is_right_is_accepted() {
    let ground = Ground::with_file(SIZE);
    let expected = format!("blake3:{}", hash(&ground));
    for up_to_date in [false, true] {
        let mut command = ground.get("got");
        command.args(["--hash", &expected]);
        let done = got(command).await.done();
        assert_eq!(done.up_to_date, up_to_date);
        ground.assert_got("got", &done);
    }
}

#[tokio::test]
async fn a_hash_that_is_wrong_exits_6_and_nothing_is_published() {
    let ground = Ground::with_file(SIZE);
    let wrong = format!("blake3:{}", "0".repeat(64));
    let with_hash = || {
        let mut command = ground.get("got");
        command.args(["--hash", &wrong]);
        command
    };
    got(with_hash()).await.assert_failed(6);
    assert!(!ground.path("got/file").exists());
    // What came was sound all the same.
    let done = got(ground.get("got")).await.done();
    assert!(done.kept_bytes >= MIB && done.received_bytes < SIZE, "{done:?}");
    got(with_hash()).await.assert_failed(6);
    ground.assert_got("got", &done);
}

#[tokio::test]
async fn a_server_that_is_not_there_exits_5_when_the_retries_are_used_up() {
    let ground = Ground::with_file(SIZE);
    let mut command = ground.get_from(ground.reserve(), "got");
    command.args(["--retries", "1"]);
    let got = got(command).await;
    got.assert_failed(5);
    assert!(got.stderr.contains("tried 2 times"), "{got:?}");
    assert_eq!(ground.names("got"), [""; 0]);
}

#[test]
fn a_congestion_control_that_the_kernel_lacks_is_refused_at_the_start() {
    let site = crate::support::Site::new();
    site.serve_file("file", 1);
    let ran = run(&mut site.towline(["serve", "server_files", "--congestion", "no-such-thing"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cannot use the congestion control no-such-thing"), "{ran:?}");
}
