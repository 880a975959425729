//! A file that changes while it is sent ends in a cut, never in a wrong file.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::{BIG_BYTES, Reply, TestServer};

/// Changes a big file while its reader holds it back. The client must see a cut, and the new content when
/// it asks again.
async fn a_change_cuts(change: impl FnOnce(&Path)) {
    let server = TestServer::start();
    let (path, _) = server.write_big("big");
    let held = server.hold_back("big").await;
    change(&path);
    assert!(held.release().await.is_cut());
    let now = fs::read(&path).unwrap();
    assert!(server.ask("big").await == Reply::whole("big", now));
    server.finish().await;
}

/// Takes a big file's name away while its reader holds it back. What is open is still the old file, so that
/// the client may get that whole.
async fn only_the_old_file_or_a_cut(change: impl FnOnce(&TestServer, &Path)) -> TestServer {
    let server = TestServer::start();
    let (path, content) = server.write_big("big");
    let held = server.hold_back("big").await;
    change(&server, &path);
    let reply = held.release().await;
    assert!(reply.is_cut() || reply == Reply::whole("big", content));
    server
}

fn open_for_writing(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

#[tokio::test]
async fn a_file_truncated_while_it_is_sent_is_cut() {
    a_change_cuts(|path| open_for_writing(path).set_len(BIG_BYTES / 2).unwrap()).await;
}

#[tokio::test]
async fn a_file_emptied_while_it_is_sent_is_cut() {
    a_change_cuts(|path| open_for_writing(path).set_len(0).unwrap()).await;
}

#[tokio::test]
async fn a_file_grown_while_it_is_sent_is_cut() {
    a_change_cuts(|path| {
        let file = open_for_writing(path);
        file.write_all_at(b"more", BIG_BYTES).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_truncated_and_grown_back_while_it_is_sent_is_cut() {
    a_change_cuts(|path| {
        let file = open_for_writing(path);
        file.set_len(BIG_BYTES - 1).unwrap();
        file.set_len(BIG_BYTES).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_byte_rewritten_with_size_and_mtime_put_back_while_it_is_sent_is_cut() {
    a_change_cuts(rewrite_last_byte_with_mtime_put_back).await;
}

fn rewrite_last_byte_with_mtime_put_back(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut last = [0];
    file.read_exact_at(&mut last, BIG_BYTES - 1).unwrap();
    file.write_all_at(&[!last[0]], BIG_BYTES - 1).unwrap();
    file.set_modified(modified).unwrap();
    let now = file.metadata().unwrap();
    assert_eq!((now.len(), now.modified().unwrap()), (BIG_BYTES, modified));
}

#[tokio::test]
async fn bytes_rewritten_on_their_way_never_pass_for_the_file() {
    // The kernel sends pages, not copies of them: a byte that the client has not taken yet may still change.
    let server = TestServer::start();
    let content = vec![b'a'; 256 << 10];
    let path = server.write("file", &content);
    let held = server.hold_back("file").await;
    server.log.wait(&format!("{}: sent file", held.peer())).await;
    let file = open_for_writing(&path);
    file.write_all_at(&vec![b'b'; content.len()], 0).unwrap();
    let reply = held.release().await;
    assert!(reply == Reply::Damaged || reply == Reply::whole("file", content), "{reply:?}");
    server.finish().await;
}

#[tokio::test]
async fn a_file_replaced_by_rename_while_it_is_sent_is_never_mixed_with_the_new_one() {
    let replace = |server: &TestServer, path: &Path| {
        let new = server.write("new", "new content");
        fs::rename(new, path).unwrap();
    };
    let server = only_the_old_file_or_a_cut(replace).await;
    assert_eq!(server.ask("big").await, Reply::whole("big", "new content"));
    server.finish().await;
}

#[tokio::test]
async fn a_file_deleted_while_it_is_sent_is_sent_whole_or_cut() {
    let server = only_the_old_file_or_a_cut(|_, path| fs::remove_file(path).unwrap()).await;
    assert_eq!(server.ask("big").await.refusal(), "File not found: big".to_owned());
    server.finish().await;
}

#[tokio::test]
async fn a_content_rewritten_with_size_and_mtime_put_back_is_sent_with_its_own_md5() {
    let state = tempfile::tempdir().unwrap();
    let server = TestServer::start_with(|config| config.state_dir = Some(state.path().into()));
    let (path, content) = server.write_big("big");
    assert!(server.ask("big").await == Reply::whole("big", content));
    rewrite_last_byte_with_mtime_put_back(&path);
    let now = fs::read(&path).unwrap();
    assert!(server.ask("big").await == Reply::whole("big", now));
    server.finish().await;
}

#[tokio::test]
async fn a_file_replaced_all_the_time_is_always_one_of_its_contents() {
    let server = TestServer::start();
    let contents = [vec![b'a'; 100_000], vec![b'b'; 150_000]];
    server.write("file", &contents[0]);
    for round in 0..200 {
        let new = server.write("new", &contents[round % 2]);
        let (reply, ()) = tokio::join!(server.ask("file"), async {
            tokio::task::yield_now().await;
            fs::rename(&new, server.path("file")).unwrap();
        });
        let is_one = |content: &Vec<u8>| reply == Reply::whole("file", content.clone());
        assert!(reply.is_cut() || contents.iter().any(is_one), "{reply:?}");
    }
    server.finish().await;
}
