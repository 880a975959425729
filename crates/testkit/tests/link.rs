//! What a link between two network namespaces promises, by the programs that people measure links with.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use towline_testkit::deadline::{WAIT_MAX, poll};
use towline_testkit::lacking;
use towline_testkit::link::{Counted, End, Link, LinkOptions};
use towline_testkit::python::Python;

/// A link, or the end of a test that cannot have one.
fn up(options: &LinkOptions) -> Option<Link> {
    if let Some(obstacle) = Link::obstacle() {
        lacking(obstacle);
        return None;
    }
    Some(Link::up(options).unwrap())
}

fn has_ping() -> bool {
    let found = Command::new("ping").arg("-V").output().is_ok();
    if !found {
        lacking("there is no ping");
    }
    found
}

#[test]
fn no_answer_comes_sooner_than_the_rtt() {
    let options = LinkOptions { rtt: Duration::from_millis(40), ..LinkOptions::default() };
    let Some(link) = up(&options).filter(|_| has_ping()) else { return };
    let mut command = link.near().command("ping");
    // With a deadline it goes on until as many are answered, however late.
    command.args(["-n", "-c", "10", "-i", "0.002", "-w", &WAIT_MAX.as_secs().to_string()]);
    let output = command.arg(link.far().address().to_string()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let times = said.lines().filter_map(|line| line.split_once("time=")?.1.strip_suffix(" ms"));
    let times: Vec<f64> = times.map(|time| time.parse().unwrap()).collect();
    assert!(times.len() >= 10, "{said}");
    assert!(times.iter().all(|time| *time >= 40.0), "{said}");
}

/// A socket at one end.
fn socket_at(end: &End) -> UdpSocket {
    let namespace = File::open(Path::new("/run/netns").join(end.namespace())).unwrap();
    let bind = || {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), network).unwrap();
        UdpSocket::bind((end.address(), 0)).unwrap()
    };
    // A thread of its own stays there, and ends.
    let socket = std::thread::scope(|scope| scope.spawn(bind).join().unwrap());
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket
}

#[test]
fn packets_are_lost_as_often_as_asked_for_and_counted() {
    /// As many are under way at once as any buffer holds.
    const AT_ONCE: u64 = 20;
    const PACKETS: u64 = 1_000;
    let rtt = Duration::from_millis(2);
    let options = LinkOptions { rtt, loss_ppm: 100_000, ..LinkOptions::default() };
    let Some(link) = up(&options) else { return };
    let (near, far) = (socket_at(link.near()), socket_at(link.far()));
    let sum = |counted: Counted| counted.packets + counted.lost_packets;
    let (mut asked, mut answered, mut received) = (0, 0, 0);
    while asked < PACKETS {
        for _ in 0..AT_ONCE {
            near.send_to(&[7; 56], far.local_addr().unwrap()).unwrap();
        }
        asked += AT_ONCE;
        poll("the questions", || (sum(link.statistics().to_far) == asked).then_some(()));
        // Those that are counted as come do come, and no others.
        while answered < link.statistics().to_far.packets {
            let (length, from) = far.recv_from(&mut [0; 64]).unwrap();
            far.send_to(&[7; 64][..length], from).unwrap();
            answered += 1;
        }
        poll("the answers", || (sum(link.statistics().to_near) == answered).then_some(()));
        while received < link.statistics().to_near.packets {
            near.recv(&mut [0; 64]).unwrap();
            received += 1;
        }
    }
    for socket in [&near, &far] {
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    let counted = link.statistics();
    // Five standard deviations of 9.5 around the mean of 100.
    assert!((53..147).contains(&counted.to_far.lost_packets), "{counted:?}");
    assert_eq!((counted.to_far.overflowed_packets, counted.to_near.overflowed_packets), (0, 0));
}

#[test]
fn no_more_passes_than_the_rate_allows_and_all_of_it_in_order() {
    const BYTES: usize = 4 << 20;
    let rate_bits_per_s = 50_000_000;
    let rtt = Duration::from_millis(10);
    let options = LinkOptions { rtt, rate_bits_per_s, ..LinkOptions::default() };
    if Python::find().is_none() {
        return lacking("there is no python3");
    }
    let started = Instant::now();
    let Some(link) = up(&options) else { return };

    let script = "import socket, sys\n\
        server = socket.create_server((sys.argv[1], 9))\n\
        print('listening', flush=True)\n\
        server.accept()[0].sendall(bytes(range(256)) * (1 << 14))\n";
    let mut server = link.far().command("python3");
    server.args(["-c", script, &link.far().address().to_string()]).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut said = [0; 10];
    server.stdout.take().unwrap().read_exact(&mut said).unwrap();

    let script = "import socket, sys\n\
        connection = socket.create_connection((sys.argv[1], 9))\n\
        while chunk := connection.recv(65536): sys.stdout.buffer.write(chunk)\n";
    let mut client = link.near().command("python3");
    let client = client.args(["-c", script, &link.far().address().to_string()]).output().unwrap();
    assert!(server.wait().unwrap().success());
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(BYTES).collect();
    assert!(client.stdout == sent, "{} of {BYTES} bytes", client.stdout.len());

    // The counters first: the time that is compared with them is never too short.
    let counted = link.statistics().to_near;
    let allowed_bytes = u128::from(rate_bits_per_s) * started.elapsed().as_nanos() / 8_000_000_000;
    assert!(counted.bytes >= BYTES as u64, "{counted:?}");
    assert!(u128::from(counted.bytes) <= allowed_bytes, "{counted:?}");
}

#[test]
fn nothing_is_left_of_a_link_that_is_gone_nor_of_what_ran_there() {
    let Some(link) = up(&LinkOptions::default()) else { return };
    let names = [link.near(), link.far()].map(|end| Path::new("/run/netns").join(end.namespace()));
    assert!(names.iter().all(|name| name.exists()));
    let mut left = link.far().command("sleep").arg("1000").spawn().unwrap();
    let status = format!("/proc/{}/comm", left.id());
    poll("sleep in its namespace", || {
        std::fs::read_to_string(&status).is_ok_and(|name| name == "sleep\n").then_some(())
    });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _link = link;
        panic!("as a test that fails");
    }));
    assert!(panicked.is_err());
    assert!(!left.wait().unwrap().success());
    assert!(names.iter().all(|name| !name.exists()));
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert!(!devices.contains(&format!("tl{}-", std::process::id())), "{devices}");
}

#[test]
fn each_end_has_its_own_congestion_control() {
    let Some(link) = up(&LinkOptions::default()) else { return };
    let read = |end: &End| {
        let path = "/proc/sys/net/ipv4/tcp_congestion_control";
        String::from_utf8(end.command("cat").arg(path).output().unwrap().stdout).unwrap()
    };
    assert_eq!((read(link.near()), read(link.far())), ("cubic\n".into(), "cubic\n".into()));
    link.far().set_congestion_control("reno").unwrap();
    assert_eq!((read(link.near()), read(link.far())), ("cubic\n".into(), "reno\n".into()));
    assert!(link.far().set_congestion_control("no such thing").is_err());
}
