//! Server processes, played by a shell: addresses, lines, signals and ends.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use towline_testkit::deadline::poll;
use towline_testkit::process::{ServerProcess, Signal};

/// A shell that says where it listens, and then runs `commands`.
fn server(commands: &str) -> ServerProcess {
    let script = format!("echo starting >&2; echo listening on 127.0.0.1:4711 >&2; {commands}");
    ServerProcess::start(Command::new("sh").args(["-c", &script]))
}

#[test]
fn the_address_comes_from_its_line() {
    let server = server("exec sleep 60");
    assert_eq!(server.addr(), "127.0.0.1:4711".parse().unwrap());
    assert_eq!(server.lines(), ["starting", "listening on 127.0.0.1:4711"]);
}

#[test]
fn a_line_can_be_awaited() {
    let server = server("sleep 0.1; echo served a.txt >&2; exec sleep 60");
    assert_eq!(server.wait_line("served"), "served a.txt");
}

#[test]
#[should_panic(expected = "no line with \"served\" in:\nstarting\nlistening on")]
fn a_line_that_cannot_come_any_more_fails_and_shows_the_others() {
    server("exit 0").wait_line("served");
}

#[test]
#[should_panic(expected = "no line with \"listening on \" in:\nport in use")]
fn a_server_that_does_not_start_fails_and_shows_why() {
    ServerProcess::start(Command::new("sh").args(["-c", "echo port in use >&2; exit 1"]));
}

#[test]
fn a_signal_arrives_and_the_end_is_seen() {
    let mut server = server("exec sleep 60");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().signal(), Some(Signal::TERM.as_raw()));
    // A signal to what has ended hits nothing.
    server.signal(Signal::KILL);
}

#[test]
fn an_exit_code_is_seen() {
    assert_eq!(server("exit 7").wait().code(), Some(7));
}

#[test]
fn a_kill_ends_at_once() {
    let mut server = server("trap '' TERM; echo deaf >&2; exec sleep 60");
    server.wait_line("deaf");
    server.signal(Signal::TERM);
    server.kill();
    assert_eq!(server.wait().signal(), Some(Signal::KILL.as_raw()));
}

#[test]
fn a_dropped_server_is_gone() {
    let server = server("exec sleep 60");
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    assert!(rustix::process::test_kill_process(pid).is_ok());
    drop(server);
    poll("the end of the process", || rustix::process::test_kill_process(pid).err());
}
