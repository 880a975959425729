//! What `PROTOCOL.md` shows is what goes over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::Site;

const PROTOCOL: &str = include_str!("../../../../PROTOCOL.md");

/// The bytes of a label's lines in the worked example.
fn example(label: &str) -> Vec<u8> {
    let example = PROTOCOL.split("### An example").nth(1).unwrap().split("```").nth(1).unwrap();
    let labels = ["request", "reply"];
    let mut current = "";
    let mut bytes = Vec::new();
    for word in example.split_whitespace() {
        if labels.contains(&word) {
            current = word;
        } else if current == label {
            bytes.push(u8::from_str_radix(word, 16).unwrap());
        }
    }
    bytes
}

#[test]
fn the_worked_example_is_what_goes_over_the_wire() {
    let site = Site::new();
    std::fs::write(site.path("server_files/a.txt"), "hello").unwrap();
    let server = site.server();
    let mut connection = TcpStream::connect(server.addr()).unwrap();
    connection.write_all(&example("request")).unwrap();
    let mut reply = Vec::new();
    connection.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, example("reply"));
}
