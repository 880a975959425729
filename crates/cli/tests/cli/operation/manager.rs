//! What a service manager hears of a server, and hands over to it. No manager is needed: it is a socket and variables.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};

use towline_testkit::deadline::WAIT_MAX;
use towline_testkit::process::{ServerProcess, Signal};

use super::support::{CONFIGURATION, Station, USER};
use crate::support::run;

/// The socket that a manager listens on.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        Self { socket }
    }

    /// The next message, as the lines that it consists of.
    fn hears(&self) -> Vec<String> {
        let mut message = [0; 4_096];
        let length = loop {
            match self.socket.recv(&mut message) {
                // With a time limit, a signal ends the call.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        let text = std::str::from_utf8(&message[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next message, which must begin with `first`; its status.
    fn hears_of(&self, first: &str) -> String {
        let lines = self.hears();
        assert_eq!(lines[0], first, "{lines:?}");
        let status = lines.iter().find_map(|line| line.strip_prefix("STATUS="));
        status.unwrap_or_default().to_owned()
    }
}

fn is_told(station: &Station, manager: &Manager, name: &str) {
    let mut command = station.command(&[]);
    let mut server = ServerProcess::start(command.env("NOTIFY_SOCKET", name));
    assert_eq!(manager.hears_of("READY=1"), "serving one share");
    // It is ready when it says so.
    station.assert_served(&server, "leaflet");

    server.signal(Signal::HUP);
    let reloading = manager.hears();
    assert_eq!(reloading[0], "RELOADING=1");
    let began: u64 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    let up = std::fs::read_to_string("/proc/uptime").unwrap();
    let up_s: f64 = up.split_whitespace().next().unwrap().parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "to seconds")]
    let began_s = began as f64 / 1e6;
    assert!((0.0..=up_s + 1.0).contains(&began_s), "{began_s} of {up_s}");
    assert_eq!(manager.hears_of("READY=1"), "serving one share");

    station.configure("no configuration");
    server.signal(Signal::HUP);
    assert!(!manager.hears_of("RELOADING=1").is_empty());
    let status = manager.hears_of("READY=1");
    assert!(status.contains("the last reload was refused"), "{status}");
    station.configure(CONFIGURATION);

    server.signal(Signal::TERM);
    manager.hears_of("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_service_manager_is_told_when_the_server_is_ready_reloading_and_stopping() {
    let station = Station::new();
    let path = station.path("notify");
    let manager = Manager::at(UnixDatagram::bind(&path).unwrap());
    is_told(&station, &manager, path.to_str().unwrap());
}

#[test]
fn a_manager_with_an_abstract_socket_is_told_also_by_a_confined_server() {
    let station = Station::new();
    let name = format!("towline-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager::at(UnixDatagram::bind_addr(&address).unwrap());
    is_told(&station, &manager, &format!("@{name}"));
}

#[test]
fn the_watchdog_hears_of_a_server_again_and_again() {
    let station = Station::new();
    let path = station.path("notify");
    let manager = Manager::at(UnixDatagram::bind(&path).unwrap());
    let mut command = station.command(&[]);
    // Seldom enough that the socket has room for what is not heard at once: it may hold no more than ten messages.
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut server = ServerProcess::start(&mut command);
    manager.hears_of("READY=1");
    for _ in 0..5 {
        manager.hears_of("WATCHDOG=1");
    }
    // Also while it ends: a transfer may take its time.
    server.signal(Signal::TERM);
    while manager.hears()[0] != "STOPPING=1" {}
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_watchdog_of_another_process_hears_nothing() {
    let station = Station::new();
    let path = station.path("notify");
    let manager = Manager::at(UnixDatagram::bind(&path).unwrap());
    let mut command = station.command(&[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut server = ServerProcess::start(&mut command);
    manager.hears_of("READY=1");
    server.signal(Signal::HUP);
    manager.hears_of("RELOADING=1");
    manager.hears_of("READY=1");
}

#[test]
fn a_manager_that_cannot_be_reached_is_said_and_does_not_matter() {
    let station = Station::new();
    let mut command = station.command(&[]);
    let server = ServerProcess::start(command.env("NOTIFY_SOCKET", station.path("nobody")));
    server.wait_line("cannot tell");
    station.assert_served(&server, "leaflet");
}

/// A shell that becomes towline with `socket` as the descriptor and the variables that a manager sets.
fn handing_over(station: &Station, socket: impl Into<OwnedFd>, args: &[&str]) -> Command {
    let towline = station.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3<&1 >/dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    shell.arg(towline.get_program()).args(towline.get_args()).current_dir(station.root());
    // The one stream that the server has no use for brings it to the shell.
    shell.stdin(Stdio::null()).stdout(Stdio::from(socket.into())).stderr(Stdio::piped());
    shell
}

#[test]
fn a_socket_that_a_service_manager_has_opened_is_served_and_no_other_is_bound() {
    let station = Station::new();
    // Nobody could listen there.
    station.configure(&CONFIGURATION.replace("127.0.0.1:0", "192.0.2.1:9999"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let args: &[&str] = if is_root { &["--user", USER] } else { &[] };
    let mut server = ServerProcess::start(&mut handing_over(&station, socket, args));
    assert_eq!(server.addr(), address);
    station.assert_served(&server, "leaflet");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn what_is_handed_over_and_is_no_listening_socket_is_refused() {
    let station = Station::new();
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = std::fs::File::open(station.path("towline.toml")).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let wrong: [OwnedFd; 4] = [stream.into(), file.into(), udp.into(), connected.into()];
    for socket in wrong {
        let ran = run(&mut handing_over(&station, socket, &[]));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("cannot use socket 0"), "{ran:?}");
    }
}
