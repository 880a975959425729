//! A disk that refuses, and files that are there already.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use towline_client::classic::{AttemptError, Options, download};
use towline_store::staged::StageError;
use towline_testkit::deadline::within;
use towline_testkit::script::ScriptServer;
use towline_testkit::skip;
use towline_testkit::tree::random_bytes;

use crate::support::{
    Fetch, HonestServer, NOTHING_LEFT, Outcome, Record, Told, address, answering, asked,
    assert_holds, header, reply, run,
};

/// Set in the process whose files may not grow beyond [`FILE_BYTES_LIMIT`].
const LIMITED: &str = "TOWLINE_TEST_FILE_SIZE_LIMITED";

/// What `ulimit -f 64` means: 32 KiB where the shell counts in 512 bytes, as POSIX has it, or 64 KiB.
const FILE_BYTES_LIMIT: usize = 64 << 10;

/// The failure of the local disk; any other fails the test.
fn stage_error(outcome: &Outcome) -> &StageError {
    match outcome.cause() {
        AttemptError::Stage(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_second_download_of_a_target_is_told_so_and_the_first_is_undisturbed() {
    let stalling = asked("file").send(header("file", b"content").encode()).send("con").hold();
    let slow = ScriptServer::start(vec![stalling]).await;
    let quick = HonestServer::start("file", b"content").await;
    let fetch = Fetch::new(slow.addr(), "file");
    let second = Options { address: address(quick.addr()), ..fetch.options.clone() };
    let record = Record::default();
    let first_bytes = record.wait_for(|told| matches!(told, Told::Received { .. }));
    let outcome = tokio::select! {
        ended = download(&fetch.options, &record) => panic!("it ended: {ended:?}"),
        outcome = async {
            within("the first bytes", first_bytes).await;
            run(&second).await
        } => outcome,
    };
    assert!(matches!(stage_error(&outcome), StageError::Busy(_)));
    assert_eq!(outcome.told, []);
    slow.finish().await.unwrap();
    // The lock has gone with the first.
    run(&second).await.downloaded();
    assert_holds(fetch.downloads().join("file"), b"content");
}

#[tokio::test]
async fn a_download_beside_another_of_the_same_target_leaves_its_part_alone() {
    let fetch = Fetch::new("127.0.0.1:1".parse().unwrap(), "file");
    let part = fetch.downloads().join(".file.towline-part");
    let owner = std::fs::File::create(&part).unwrap();
    owner.lock().unwrap();
    std::fs::write(&part, "of somebody else").unwrap();
    let outcome = fetch.run().await;
    assert!(matches!(stage_error(&outcome), StageError::Busy(_)));
    assert_holds(part, b"of somebody else");
}

#[tokio::test]
async fn a_folder_at_the_target_is_told_before_the_server_is_asked() {
    let fetch = Fetch::new("127.0.0.1:1".parse().unwrap(), "file");
    std::fs::create_dir(fetch.downloads().join("file")).unwrap();
    let outcome = fetch.run().await;
    assert!(matches!(stage_error(&outcome), StageError::TargetIsFolder(_)));
    assert_eq!(outcome.told, []);
    assert_eq!(fetch.tree(), ["downloads/", "downloads/file/"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told_before_the_server_is_asked() {
    let mut fetch = Fetch::new("127.0.0.1:1".parse().unwrap(), "file");
    let file = fetch.home().join("a file");
    std::fs::write(&file, "").unwrap();
    // Not even root makes folders in these.
    for folder in [file.join("sub"), "/proc/towline/sub".into()] {
        fetch.options.folder = folder;
        let outcome = fetch.run().await;
        assert!(matches!(stage_error(&outcome), StageError::Folder { .. }));
        assert_eq!(outcome.told, []);
    }
    assert_eq!(fetch.tree(), ["a file"]);
}

#[tokio::test]
async fn a_read_only_folder_is_told_before_the_server_is_asked() {
    if rustix::process::geteuid().is_root() {
        return skip("root writes to read-only folders");
    }
    let fetch = Fetch::new("127.0.0.1:1".parse().unwrap(), "file");
    let read_only = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(fetch.downloads(), read_only).unwrap();
    let outcome = fetch.run().await;
    assert!(matches!(stage_error(&outcome), StageError::File { .. }));
    assert_eq!(outcome.told, []);
}

#[test]
fn a_file_size_limit_is_an_error_of_the_disk_and_leaves_nothing() {
    if std::env::var_os(LIMITED).is_some() {
        return download_beyond_the_limit();
    }
    // The limit and the ignored signal, by which it would end the process, are inherited.
    let limited = "trap '' XFSZ && ulimit -f 64 && exec \"$0\" --exact --nocapture \"$1\"";
    let this_test = "local_disk::a_file_size_limit_is_an_error_of_the_disk_and_leaves_nothing";
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .arg(this_test)
        .env(LIMITED, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{}: {stdout}{stderr}",
        output.status
    );
}

#[tokio::main(flavor = "current_thread")]
async fn download_beyond_the_limit() {
    let server = HonestServer::start("file", &random_bytes(8 * FILE_BYTES_LIMIT, 1)).await;
    let fetch = Fetch::new(server.addr(), "file").retries(3);
    let outcome = fetch.run().await;
    let error = stage_error(&outcome);
    assert!(
        matches!(error, StageError::File { step: "write", source, .. }
            if source.kind() == std::io::ErrorKind::FileTooLarge),
        "{error}"
    );
    assert_eq!(outcome.error().attempts, 1);
    assert_eq!(fetch.tree(), NOTHING_LEFT);
}

#[tokio::test]
async fn a_part_that_a_dead_process_left_is_taken_over_and_emptied() {
    let server = HonestServer::start("file", b"content").await;
    let fetch = Fetch::new(server.addr(), "file");
    let part = fetch.downloads().join(".file.towline-part");
    std::fs::write(part, "longer than the content will be").unwrap();
    assert_holds(&fetch.run().await.downloaded().path, b"content");
    assert_eq!(fetch.tree(), ["downloads/", "downloads/file"]);
}

#[tokio::test]
async fn what_a_longer_attempt_left_is_not_in_the_file_of_a_shorter_one() {
    let lie = [&header("file", b"long").encode()[..], b"long"].concat();
    let mut longer = lie.clone();
    let end = longer.len() - 1;
    longer[end] ^= 1;
    let server = ScriptServer::start(vec![
        answering("file", longer),
        answering("file", reply("file", b"s")),
    ])
    .await;
    let fetch = Fetch::new(server.addr(), "file").retries(1);
    let outcome = fetch.run().await;
    server.finish().await.unwrap();
    assert_holds(&outcome.downloaded().path, b"s");
}

#[tokio::test]
async fn names_as_long_as_a_folder_holds_are_received() {
    for name in ["n".repeat(255), "ü".repeat(127)] {
        let server = HonestServer::start(&name, b"content").await;
        let fetch = Fetch::new(server.addr(), &name);
        assert_holds(&fetch.run().await.downloaded().path, b"content");
        assert_eq!(fetch.tree(), ["downloads/".to_owned(), format!("downloads/{name}")]);
    }
}

#[tokio::test]
async fn an_existing_file_is_replaced_only_when_the_new_one_is_verified() {
    let bent = [header("file", b"new").encode(), b"nEw".to_vec()].concat();
    let server = ScriptServer::start(vec![
        answering("file", bent),
        answering("file", reply("file", b"new")),
    ])
    .await;
    let fetch = Fetch::new(server.addr(), "file");
    let target = fetch.downloads().join("file");
    std::fs::write(&target, "old").unwrap();
    let outcome = fetch.run().await;
    assert!(matches!(outcome.cause(), AttemptError::Mismatch { .. }));
    assert_holds(&target, b"old");
    fetch.run().await.downloaded();
    server.finish().await.unwrap();
    assert_holds(&target, b"new");
    assert_eq!(fetch.tree(), ["downloads/", "downloads/file"]);
}
