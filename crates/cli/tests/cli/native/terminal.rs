//! What a person at a terminal sees of a transfer.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use towline_testkit::chaos::{ChaosProxy, Direction, FaultKind, Plan};
use towline_testkit::deadline::poll;

use super::support::{Ground, MIB};
use crate::support::{finish, needs};

/// What begins the line at hand anew.
const CLEAR: &str = "\r\x1b[2K";

/// `towline get` with these arguments, at a terminal whose screen is kept in the file `screen`.
fn at_a_terminal(ground: &Ground, args: &str) -> Child {
    let towline = env!("CARGO_BIN_EXE_towline");
    let line = format!("stty cols 80; exec {towline} get --plain --no-sync {args}");
    Command::new("script")
        .args(["-qefc", &line, "screen"])
        .current_dir(ground.root())
        .env("HOME", ground.path("home"))
        .env("XDG_STATE_HOME", ground.path("state"))
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_a_terminal_clears_the_bar_and_says_how_far_it_got() {
    if !needs("script") {
        return;
    }
    let ground = Ground::with_file(12 * MIB);
    let proxy = ChaosProxy::start(ground.server.addr(), move |_| {
        Plan::clean().with(Direction::ToClient, 5 * MIB + MIB / 2, FaultKind::Stall)
    })
    .await;
    let url = format!("{}/file", proxy.addr());
    let mut terminal = at_a_terminal(&ground, &format!("-j1 --timeout 600 {url} -d got"));
    let screen = || std::fs::read_to_string(ground.path("screen")).unwrap_or_default();
    // As far as it ever gets.
    poll("the bar", || screen().contains("file  45 % [").then_some(()));
    let ctrl_c = b"\x03";
    terminal.stdin.as_mut().unwrap().write_all(ctrl_c).unwrap();
    assert_eq!(finish(terminal).code, Some(130));
    let screen = screen();
    let drawn: Vec<_> = screen.split(CLEAR).collect();
    let (last, bars) = drawn.split_last().unwrap();
    assert!(last.starts_with("towline: interrupted after 5 of 12 MiB; "), "{screen:?}");
    let bar = bars.last().unwrap();
    assert!(bar.starts_with("file  45 % [") && bar.contains(", 1 conn."), "{screen:?}");
    // Where the terminal shows the key itself, it does so on the bar's line.
    let is_on_one_line = bar.replace("^C", "").len() < 80 && !bar.contains('\n');
    assert!(is_on_one_line && bar.ends_with("^C"), "{screen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_above_the_bar() {
    if !needs("script") {
        return;
    }
    let ground = Ground::with_file(4 * MIB);
    let proxy = ChaosProxy::start(ground.server.addr(), |connection| match connection {
        0 => Plan::clean().with(Direction::ToClient, MIB + MIB / 2, FaultKind::Cut),
        _ => Plan::clean(),
    })
    .await;
    let args = format!("-v -j1 --limit-rate 2M {}/file -d got", proxy.addr());
    let terminal = at_a_terminal(&ground, &args);
    let ran = tokio::task::spawn_blocking(|| finish(terminal)).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let screen = std::fs::read_to_string(ground.path("screen")).unwrap();
    assert!(screen.contains(" % ["), "{screen:?}");
    let lines: Vec<_> = screen.lines().filter(|line| line.contains(" INFO ")).collect();
    assert!(lines.len() >= 10, "{screen:?}");
    for line in lines {
        let line = line.rsplit(CLEAR).next().unwrap();
        // Each begins with the year.
        assert!(line.starts_with("20"), "{line:?} in {screen:?}");
    }
    let retries = screen.lines().filter(|line| line.contains("; trying again in "));
    assert_eq!(retries.count(), 1, "the log says it, and nothing else again: {screen:?}");
}
