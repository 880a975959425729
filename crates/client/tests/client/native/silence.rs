//! A server that falls silent is given up in every phase.

use std::time::Duration;

use towline_client::native::{Failure, SessionError};
use towline_proto::native::message::Answer;
use towline_proto::native::preface::Preface;
use towline_testkit::script::{Script, ScriptServer};

use super::support::{
    CONTENT, Fetch, asked_for_content, data, described, fetch_from, greeted, info, piece_end,
};
use crate::support::assert_holds;

/// What is borne: long enough for a busy machine to play its part before it.
const SILENCE_MAX: Duration = Duration::from_secs(3);

async fn is_given_up(script: Script) {
    let server = ScriptServer::start(vec![script.hold()]).await;
    let mut fetch = Fetch::new(server.addr());
    fetch.silence_max = SILENCE_MAX;
    let failure = fetch.run().await.expect_err("an error").failure;
    assert!(
        matches!(failure, Failure::Session { error: SessionError::Silent(SILENCE_MAX), .. }),
        "{failure:?}"
    );
    assert!(!fetch.target().exists());
    server.finish().await.expect("the server followed its script");
}

#[tokio::test]
async fn silence_instead_of_a_greeting_is_given_up() {
    is_given_up(greeted()).await;
}

#[tokio::test]
async fn silence_within_the_preface_is_given_up() {
    is_given_up(greeted().send(&Preface::OURS.encode()[..19])).await;
}

#[tokio::test]
async fn silence_instead_of_the_description_is_given_up() {
    is_given_up(greeted().send(Preface::OURS.encode())).await;
}

#[tokio::test]
async fn silence_within_the_description_is_given_up() {
    let info = Answer::Info(info(CONTENT)).encode();
    let begun = greeted().send(Preface::OURS.encode());
    let of = |length: usize| is_given_up(begun.clone().send(&info[..length]));
    tokio::join!(of(5), of(info.len() - 1));
}

#[tokio::test]
async fn silence_instead_of_content_is_given_up() {
    is_given_up(described(&Answer::Info(info(CONTENT)))).await;
}

#[tokio::test]
async fn silence_within_content_is_given_up() {
    let data = data(CONTENT);
    let of = |length: usize| is_given_up(asked_for_content().send(&data[..length]));
    tokio::join!(of(1), of(9), of(10), of(data.len() - 1));
}

#[tokio::test]
async fn silence_instead_of_a_hash_is_given_up() {
    is_given_up(asked_for_content().send(data(CONTENT))).await;
}

#[tokio::test]
async fn silence_after_the_last_hash_hinders_nothing() {
    let whole = [data(CONTENT), piece_end(CONTENT, 0)].concat();
    let (fetch, result) = fetch_from(asked_for_content().send(whole).hold()).await;
    result.unwrap();
    assert_holds(fetch.target(), CONTENT);
}
