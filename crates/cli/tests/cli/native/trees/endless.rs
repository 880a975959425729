//! Listings far longer than the memory that a client may take up.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use towline_proto::name::RemoteName;
use towline_proto::native::frame::{HEADER_BYTES, Header};
use towline_proto::native::message::tree::{Entries, Entry, EntryKind};
use towline_proto::native::message::{Answer, Request};
use towline_proto::native::preface::{PREFACE_BYTES, Preface};

use crate::native::support::{MIB, ended_before, most_memory};
use crate::support::{Site, is_full};

/// Entries in one frame.
const PAGE: u32 = 1_024;

/// Tells everybody who lists of so many entries, every second one a folder.
fn lists(entries: u32) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // They end with the process of the tests.
    thread::spawn(move || {
        for client in listener.incoming() {
            thread::spawn(move || answer(client.unwrap(), entries));
        }
    });
    address
}

/// Answers until the client goes.
fn answer(mut client: TcpStream, entries: u32) {
    client.write_all(&Preface::OURS.encode()).unwrap();
    client.read_exact(&mut [0; PREFACE_BYTES]).unwrap();
    let mut header = [0; HEADER_BYTES];
    while client.read_exact(&mut header).is_ok() {
        let header = Header::decode(&header).unwrap();
        let mut payload = vec![0; header.length];
        client.read_exact(&mut payload).unwrap();
        let Request::List(list) = Request::decode(header.kind, &payload).unwrap() else {
            panic!("nothing but a listing is asked for");
        };
        let after = list.after.map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap());
        let mut next = after.map_or(0, |name| name.parse::<u32>().unwrap() + 1);
        let end = entries.min(next + list.entries_max);
        while next < end {
            let page = next..end.min(next + PAGE);
            next = page.end;
            let entries = Entries { entries: page.map(entry).collect(), ended: next == entries };
            client.write_all(&Answer::Entries(entries).encode()).unwrap();
        }
        client.write_all(&Answer::Done.encode()).unwrap();
    }
}

fn entry(number: u32) -> Entry {
    let kind = match number % 2 {
        0 => EntryKind::Folder,
        _ => EntryKind::File { size: 1, sparse: false },
    };
    let path = RemoteName::parse(format!("{number:010}").as_bytes()).unwrap();
    Entry { path, kind, modified_ns: 1, mode: 0o644, error: None }
}

#[test]
fn a_long_listing_takes_up_little_memory_here() {
    let site = Site::new();
    let url = format!("{}/tree", lists(if is_full() { 1_000_000 } else { 200_000 }));
    for args in [&["get", "-r", "--dry-run", "-d", "got"][..], &["ls", "-R"]] {
        let mut command = site.towline(args.iter().copied().chain(["--plain", &url]));
        let mut client = command.stdout(Stdio::null()).spawn().unwrap();
        let (process, mut most) = (client.id(), 0);
        // Its last moment may be missed; by then it has what it will ever have.
        let has_ended = ended_before(&mut client, || {
            most = most.max(most_memory(process).unwrap_or(0));
            false
        });
        assert!(has_ended && client.wait().unwrap().success(), "{args:?}");
        assert!(most > 0 && most < 64 * MIB, "{args:?}: {most} bytes of memory");
    }
}
