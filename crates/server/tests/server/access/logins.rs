//! Logins: what proves something, what does not, and what guessing costs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::task::JoinSet;
use towline_proto::native::message::{Answer, ErrorCode, Proof, Request};
use towline_server::policy::Action;
use towline_testkit::deadline::within;

use super::support::{PASSWORD, People, allow, secret, with_password};
use crate::native::support::{Frame, Peer, stat};
use crate::support::TestServer;

/// A server where ann alone may read, and the one file there.
fn anns(people: &People) -> TestServer {
    let access = people.access(vec![allow("/", &["user:ann"], &[Action::Read])]);
    let server = TestServer::start_with(|config| config.access = access);
    server.write("file", "x");
    server
}

/// Whether the proof lets somebody in who asks for the file in the same breath.
async fn is_let_in(peer: &mut Peer, proof: Proof) -> bool {
    let together = [Request::LogIn(proof).encode(), stat("file").encode()].concat();
    peer.send(&together).await;
    loop {
        match peer.next().await {
            Frame::Answer(Answer::Heartbeat) => {}
            Frame::Answer(Answer::Done) => break,
            Frame::Answer(Answer::Error(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::Denied, "{refusal:?}");
                return false;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(peer.next().await, Frame::Answer(Answer::Info(_))));
    true
}

#[tokio::test]
async fn a_token_and_a_password_let_their_user_in_without_a_round_trip() {
    let people = People::new();
    let server = anns(&people);
    let mut nobody = Peer::greet_encrypted(&server).await;
    nobody.ask(&stat("file")).await;
    nobody.assert_refused(ErrorCode::Denied).await;
    for proof in [people.token(), with_password("ann", PASSWORD)] {
        let mut ann = Peer::greet_encrypted(&server).await;
        assert!(is_let_in(&mut ann, proof).await);
    }
    drop(nobody);
    server.finish().await;
}

#[tokio::test]
async fn whoever_proves_nothing_is_told_no_more_than_that_and_the_session_ends() {
    let people = People::new();
    let server = anns(&people);
    let mut told = Vec::new();
    for proof in [
        with_password("ann", "correct hors"),
        with_password("nobody", PASSWORD),
        with_password("bob", PASSWORD),
        Proof::Token(secret("towline_00")),
        // A password is no token, and a token no password.
        Proof::Token(secret(PASSWORD)),
        with_password("ann", people.token.reveal()),
    ] {
        // Each from a source of its own, so that none waits for the others.
        let source = IpAddr::from([127, 0, 1, u8::try_from(told.len()).unwrap() + 1]);
        let mut peer = Peer::encrypted_from(source, &server).await;
        peer.send(&[Request::LogIn(proof).encode(), stat("file").encode()].concat()).await;
        let refusal = peer.refusal().await;
        assert_eq!(peer.ended().await, b"", "what follows is not answered");
        told.push((refusal.code, refusal.text, refusal.retry));
    }
    assert_eq!(told[0].0, ErrorCode::Denied);
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    server.finish().await;
}

#[tokio::test]
async fn a_login_in_the_clear_is_refused_and_not_looked_at() {
    let people = People::new();
    let server = anns(&people);
    let mut peer = Peer::greet(&server).await;
    peer.send(&[Request::LogIn(people.token()).encode(), stat("file").encode()].concat()).await;
    let refusal = peer.refusal().await;
    assert_eq!(refusal.code, ErrorCode::Denied);
    assert!(refusal.text.contains("without encryption"), "{refusal:?}");
    assert_eq!(peer.ended().await, b"");
    server.finish().await;
}

#[tokio::test]
async fn a_login_comes_first_or_not_at_all() {
    let people = People::new();
    let server = anns(&people);
    let mut peer = Peer::greet_encrypted(&server).await;
    peer.ask(&stat("file")).await;
    peer.assert_refused(ErrorCode::Denied).await;
    peer.ask(&Request::LogIn(people.token())).await;
    peer.assert_refused(ErrorCode::BadRequest).await;
    peer.ask(&stat("file")).await;
    peer.assert_refused(ErrorCode::Denied).await;
    drop(peer);
    server.finish().await;
}

#[tokio::test]
async fn no_secret_is_logged() {
    let people = People::new();
    let server = anns(&people);
    let mut ann = Peer::greet_encrypted(&server).await;
    assert!(is_let_in(&mut ann, people.token()).await);
    let mut guesser = Peer::greet_encrypted(&server).await;
    assert!(!is_let_in(&mut guesser, with_password("ann", "my secret guess")).await);
    server.log.wait("logged in as ann").await;
    server.log.wait("nobody was let in").await;
    let lines = server.log.lines();
    for secret in [&people.token.reveal()["towline_".len()..], "my secret guess"] {
        assert!(!lines.iter().any(|line| line.contains(secret)), "{lines:?}");
    }
    drop((ann, guesser));
    server.finish().await;
}

#[tokio::test]
async fn brute_force_from_one_source_does_not_keep_an_honest_user_out() {
    const GUESSERS: u8 = 40;
    let people = People::new();
    let access = people.access(vec![allow("/", &["user:ann"], &[Action::Read])]);
    let server = TestServer::start_with(|config| {
        config.access = access;
        config.deadlines.login_turn = Duration::from_secs(2);
    });
    server.write("file", "x");
    let mut guessers = Vec::new();
    for number in 0..GUESSERS {
        let mut peer = Peer::encrypted_from(Ipv4Addr::new(127, 0, 2, 1).into(), &server).await;
        let guess = with_password("ann", &format!("guess {number}"));
        peer.ask(&Request::LogIn(guess)).await;
        guessers.push(peer);
    }
    // While they wait for their turns, she is let in at once.
    let mut ann = Peer::greet_encrypted(&server).await;
    assert!(is_let_in(&mut ann, with_password("ann", PASSWORD)).await);
    // Of the guesses, few are given a turn at all.
    let mut turned_away = JoinSet::new();
    for mut guesser in guessers {
        turned_away.spawn(async move {
            while let Frame::Answer(Answer::Heartbeat) = guesser.next().await {}
        });
    }
    for _ in 0..GUESSERS / 2 {
        within("a guess that is turned away", turned_away.join_next()).await.unwrap().unwrap();
    }
    let lines = server.log.lines();
    let looked_at = lines.iter().filter(|line| line.contains("wrong user")).count();
    let refused = lines.iter().filter(|line| line.contains("too many logins")).count();
    assert!(refused > looked_at, "{looked_at} were looked at, {refused} were not");
    server.shutdown.cut();
    server.ended().await;
}
