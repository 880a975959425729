//! Sessions serve one transfer after another.

use towline_client::native::{Options, Server, download};
use towline_proto::name::RemoteName;
use towline_proto::native::message::{Answer, Request};
use towline_testkit::deadline::within;
use towline_testkit::script::{Script, ScriptServer};

use super::support::{CONTENT, Fetch, asked_for_content, fetch_request, info, name, whole_answer};
use crate::support::{PATIENCE, Record, address, assert_holds};

/// Fetches the same file under two names.
async fn fetched_twice(scripts: Vec<Script>) {
    let server = ScriptServer::start(scripts).await;
    let mut fetch = Fetch::new(server.addr());
    // A close that has not arrived when the session is used again is a loss like any other.
    fetch.options.backoff.retries = 1;
    let shared = Server::new(address(server.addr()), None, PATIENCE);
    for target in ["one", "other"] {
        let target = RemoteName::parse(target.as_bytes()).expect("it is a good name");
        let options = Options { server: shared.clone(), target, ..fetch.options.clone() };
        within("the download", download(&options, &Record::default())).await.expect("it comes");
    }
    drop(shared);
    server.finish().await.expect("the server followed its scripts");
    for target in ["one", "other"] {
        assert_holds(fetch.target().with_file_name(target), CONTENT);
    }
}

#[tokio::test]
async fn the_next_file_comes_over_the_same_session() {
    let stat = Request::Stat { name: name() }.encode();
    let script = asked_for_content()
        .send(whole_answer())
        .expect(stat)
        .send(Answer::Info(info(CONTENT)).encode())
        .expect(fetch_request(0, 1))
        .send(whole_answer());
    fetched_twice(vec![script.hold()]).await;
}

#[tokio::test]
async fn a_session_that_the_server_has_closed_meanwhile_is_not_used_again() {
    let script = || asked_for_content().send(whole_answer());
    fetched_twice(vec![script().shutdown_write().hold(), script().hold()]).await;
}

#[tokio::test]
async fn a_session_in_which_something_comes_unasked_is_not_used_again() {
    let script = || asked_for_content().send(whole_answer());
    fetched_twice(vec![script().send(b"unasked".to_vec()).hold(), script().hold()]).await;
}
