//! A link as between continents: packets take their time, and some never arrive.

use std::process::{Command, Stdio};
use std::time::Duration;

use towline_testkit::lacking;
use towline_testkit::link::{End, Link, LinkOptions};
use towline_testkit::process::ServerProcess;

use super::support::{MIB, got};
use crate::support::Site;

const SIZE: u64 = 3 * MIB + 5;

/// The command at an end, with its output to be read.
fn at(end: &End, command: &Command) -> Command {
    let mut command = end.enter(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_whole_over_a_long_link_that_loses_one_packet_in_twenty() {
    if let Some(obstacle) = Link::obstacle() {
        return lacking(obstacle);
    }
    let options =
        LinkOptions { rtt: Duration::from_millis(200), loss_ppm: 50_000, ..LinkOptions::default() };
    let link = Link::up(&options).unwrap();
    // Each loss halves what others send in an RTT: they would take minutes.
    if link.far().set_congestion_control("bbr").is_err() {
        return lacking("this kernel has no BBR");
    }
    let site = Site::new();
    site.serve_file("file", SIZE);
    let address = link.far().address().to_string();
    let serve = site.towline(["serve", "server_files", "--port", "0", "--bind", &address]);
    let server = ServerProcess::start(&mut at(link.far(), &serve));

    let url = format!("{}/file", server.addr());
    let get = site.towline(["get", "--plain", "--json", "--no-sync", &url, "-d", "got"]);
    let done = got(at(link.near(), &get)).await.done();
    assert_eq!(done.size, SIZE);
    let open = |path: &str| std::fs::File::open(site.path(path)).unwrap();
    assert!(crate::support::same_content(open("server_files/file"), open("got/file")));
    // Without a loss nothing would have been shown.
    let counted = link.statistics().to_near;
    assert!(counted.bytes > SIZE && counted.lost_packets > 0, "{counted:?}");
}
