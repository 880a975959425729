//! Links that somebody planted on the way to the file are not followed.

use std::os::unix::fs::symlink;

use towline_client::classic::AttemptError;
use towline_store::staged::StageError;

use crate::support::{Fetch, HonestServer, Outcome, assert_holds};

/// Fetches into a home where `plant` has been at work; `precious` there must stay as it is.
async fn fetch_past(name: &str, plant: impl FnOnce(&Fetch)) -> (Fetch, Outcome) {
    let server = HonestServer::start(name, b"content").await;
    let fetch = Fetch::new(server.addr(), name);
    std::fs::create_dir(fetch.home().join("outside")).expect("a new home is empty");
    std::fs::write(fetch.home().join("outside/file"), "precious").expect("a file can be written");
    plant(&fetch);
    let outcome = fetch.run().await;
    assert_holds(fetch.home().join("outside/file"), b"precious");
    (fetch, outcome)
}

#[tokio::test]
async fn a_link_at_the_target_is_replaced_and_what_it_leads_to_is_untouched() {
    for leads_to in ["../outside/file", "../outside", "nowhere"] {
        let (fetch, outcome) = fetch_past("file", |fetch| {
            symlink(leads_to, fetch.downloads().join("file")).unwrap();
        })
        .await;
        let target = fetch.downloads().join("file");
        assert!(outcome.downloaded().path == target && !target.is_symlink());
        assert_holds(target, b"content");
        let tree = ["downloads/", "downloads/file", "outside/", "outside/file"];
        assert_eq!(fetch.tree(), tree, "{leads_to}");
    }
}

#[tokio::test]
async fn a_link_at_a_folder_on_the_way_is_refused_before_the_server_is_asked() {
    for leads_to in ["../outside", "."] {
        let (fetch, outcome) = fetch_past("sub/file", |fetch| {
            symlink(leads_to, fetch.downloads().join("sub")).unwrap();
        })
        .await;
        assert!(
            matches!(outcome.cause(), AttemptError::Stage(StageError::Folder { path, .. })
                if path.ends_with("downloads/sub")),
            "{}",
            outcome.error()
        );
        assert_eq!(outcome.told, []);
        let tree = ["downloads/", "downloads/sub", "outside/", "outside/file"];
        assert_eq!(fetch.tree(), tree, "{leads_to}");
    }
}

#[tokio::test]
async fn a_link_at_the_parts_name_is_not_written_through() {
    for leads_to in ["../outside/file", "../outside/new"] {
        let (fetch, outcome) = fetch_past("file", |fetch| {
            symlink(leads_to, fetch.downloads().join(".file.towline-part")).unwrap();
        })
        .await;
        assert!(
            matches!(outcome.cause(), AttemptError::Stage(StageError::InTheWay(_))),
            "{}",
            outcome.error()
        );
        assert_eq!(outcome.told, []);
        assert!(!fetch.home().join("outside/new").exists());
    }
}

#[tokio::test]
async fn a_hard_link_at_the_parts_name_is_put_away_and_not_written_to() {
    let (fetch, outcome) = fetch_past("file", |fetch| {
        let part = fetch.downloads().join(".file.towline-part");
        std::fs::hard_link(fetch.home().join("outside/file"), part).unwrap();
    })
    .await;
    assert_holds(&outcome.downloaded().path, b"content");
    let tree = ["downloads/", "downloads/file", "outside/", "outside/file"];
    assert_eq!(fetch.tree(), tree);
}

#[tokio::test]
async fn the_folder_that_the_user_named_may_be_a_link() {
    let server = HonestServer::start("file", b"content").await;
    let fetch = Fetch::new(server.addr(), "file");
    std::fs::create_dir(fetch.home().join("elsewhere")).unwrap();
    symlink("elsewhere", fetch.home().join("downloads")).unwrap();
    fetch.run().await.downloaded();
    assert_holds(fetch.home().join("elsewhere/file"), b"content");
}
