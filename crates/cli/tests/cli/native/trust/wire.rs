//! What somebody sees who listens in.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::Field;
use crate::support::run;

/// In the served file, all through it.
const SECRET: &[u8] = b"nobody but the two ends reads this; ";

/// The name of the served file.
const SECRET_NAME: &str = "a-name-that-is-nobodys-business";

/// Listens in on one connection to `server`: returns where it is, and what crosses in each direction.
fn listen_in(server: SocketAddr) -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, recordings) = sync_channel(2);
    thread::spawn(move || {
        let (near, far) = (listener.accept().unwrap().0, TcpStream::connect(server).unwrap());
        let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        let heard_back = heard.clone();
        thread::spawn(move || relay(near, far, &heard));
        thread::spawn(move || relay(back_from, back_to, &heard_back));
    });
    (address, recordings)
}

/// Passes one direction on and records it.
fn relay(mut from: TcpStream, mut to: TcpStream, heard: &SyncSender<Vec<u8>>) {
    use std::io::{Read, Write};
    let (mut recording, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        recording.extend_from_slice(&chunk[..read]);
        if to.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
    let _ = heard.send(recording);
}

fn holds(recording: &[u8], text: &[u8]) -> bool {
    recording.windows(text.len()).any(|window| window == text)
}

/// Fetches the secret through somebody who listens in; returns both directions, the longer one last.
fn recorded(args: &[&str]) -> Vec<Vec<u8>> {
    let field = Field::new();
    let content = SECRET.repeat(10_000);
    std::fs::write(field.path("server_files").join(SECRET_NAME), &content).unwrap();
    let server = field.serve(&[]);
    let (address, recordings) = listen_in(server.addr());
    let url = format!("{address}/{SECRET_NAME}");
    let fixed = ["get", &url, "-d", "got", "--no-sync", "-j1"];
    let ran = run(&mut field.towline(fixed.into_iter().chain(args.iter().copied())));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(std::fs::read(field.path("got").join(SECRET_NAME)).unwrap(), content);
    let mut recordings: Vec<_> = recordings.iter().collect();
    recordings.sort_by_key(Vec::len);
    assert!(recordings.len() == 2 && recordings[1].len() > content.len());
    recordings
}

#[test]
fn who_listens_in_reads_neither_content_nor_name() {
    for recording in recorded(&[]) {
        assert_eq!(recording[..2], *b"\x16\x03", "every byte is of TLS");
        assert!(!holds(&recording, SECRET_NAME.as_bytes()) && !holds(&recording, SECRET));
        assert!(!holds(&recording, b"\xF7TOW"), "the preface is encrypted too");
    }
}

#[test]
fn without_encryption_everything_is_read() {
    let recordings = recorded(&["--plain"]);
    assert!(holds(&recordings[0], SECRET_NAME.as_bytes()) && holds(&recordings[1], SECRET));
}
