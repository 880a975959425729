//! The files that towline is installed with as a service, judged by those who read them: towline and systemd.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use towline_testkit::deadline::poll;
use towline_testkit::process::{ServerProcess, Signal};

use super::support::{Station, reload};
use crate::support::{Ran, Site, begun_call, needs, run};

/// How exposed a service may be by systemd's own measure, which goes from 0 to 10; 1.5 counts as fine.
const EXPOSURE_MAX: f64 = 1.5;

fn packaging(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

/// The values of a key in a unit file, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

/// The units in a folder of their own, with the program under test in the place of the one that is installed.
fn units() -> Site {
    let site = Site::new();
    for name in ["towline.service", "towline.socket"] {
        let unit = std::fs::read_to_string(packaging("systemd").join(name)).unwrap();
        let unit = unit.replace("/usr/bin/towline", env!("CARGO_BIN_EXE_towline"));
        std::fs::write(site.path(name), unit).unwrap();
    }
    site
}

fn analyze(site: &Site, args: &[&str]) -> Ran {
    let mut command = Command::new("systemd-analyze");
    command.args(args).current_dir(site.root()).env("SYSTEMD_PAGER", "cat");
    run(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Adds what a system call's or a group's name stands for.
fn expand(name: &str, calls: &mut BTreeSet<String>) {
    if !name.starts_with('@') {
        calls.insert(name.to_owned());
        return;
    }
    let listed = analyze(&Site::new(), &["syscall-filter", name]).stdout;
    let members = listed.lines().filter_map(|line| line.strip_prefix("    "));
    members.filter(|member| !member.starts_with('#')).for_each(|member| expand(member, calls));
}

/// The system calls that the unit lets through.
fn allowed_calls(unit: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for value in values(unit, "SystemCallFilter") {
        let (is_denied, names) = match value.strip_prefix('~') {
            Some(names) => (true, names.to_owned()),
            None => (false, value),
        };
        let mut calls = BTreeSet::new();
        names.split_whitespace().for_each(|name| expand(name, &mut calls));
        if is_denied {
            allowed.retain(|call| !calls.contains(call));
        } else {
            allowed.append(&mut calls);
        }
    }
    allowed
}

#[test]
fn the_service_starts_the_program_with_arguments_that_it_takes() {
    let unit = std::fs::read_to_string(packaging("systemd/towline.service")).unwrap();
    let [start] = &values(&unit, "ExecStart")[..] else { panic!("one command") };
    let mut words = start.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/towline"));
    assert_eq!(words.next(), Some("serve"));
    // `config show` takes what `serve` takes, and does nothing.
    let site = Site::new();
    let example = packaging("towline.toml");
    let args = words.map(|word| match word {
        "/etc/towline/towline.toml" => example.to_str().unwrap(),
        word => word,
    });
    let mut show = site.towline(["config", "show"].into_iter().chain(args));
    for assignment in values(&unit, "Environment") {
        let (name, value) = assignment.split_once('=').unwrap();
        show.env(name, value.replace("%S", "/var/lib"));
    }
    let ran = run(&mut show);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // A variable of another name would be passed over in silence.
    assert!(ran.stdout.contains("state_dir = \"/var/lib/towline\""), "{ran:?}");
}

#[test]
fn the_shipped_configuration_says_what_to_edit_first_and_is_good_once_that_is_done() {
    let site = Site::new();
    let shipped = std::fs::read_to_string(packaging("towline.toml")).unwrap();
    assert!(shipped.starts_with("# It serves nothing yet: uncomment a [[share]]"), "{shipped}");
    let check = |text: &str| {
        std::fs::write(site.path("towline.toml"), text).unwrap();
        run(&mut site.towline(["config", "check", "-c", "towline.toml"]))
    };
    let ran = check(&shipped);
    let said = "nothing is served: no [[share]] is configured; uncomment or add one";
    assert!(ran.code == Some(1) && ran.stderr.contains(said), "{ran:?}");
    let share = "#[[share]]\n#name = \"data\"\n#path = \"/srv/data\"\n";
    assert!(shipped.contains(share), "{shipped}");
    let edited = "[[share]]\nname = \"data\"\npath = \"server_files\"\n";
    let ran = check(&shipped.replace(share, edited));
    assert!(ran.code == Some(0) && ran.stdout.contains("1 served"), "{ran:?}");
}

#[test]
fn the_service_manager_understands_the_units() {
    if !needs("systemd-analyze") {
        return;
    }
    let site = units();
    let ran = analyze(&site, &["verify", "--man=no", "./towline.service", "./towline.socket"]);
    // What it says of other units is not about ours.
    let ours = ran.stderr.lines().filter(|line| line.contains("towline"));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn the_service_manager_takes_the_service_for_well_confined() {
    if !needs("systemd-analyze") {
        return;
    }
    let ran = analyze(&units(), &["security", "--offline=true", "./towline.service"]);
    let overall = ran.stdout.lines().find(|line| line.contains("Overall exposure level"));
    let overall = overall.unwrap_or_else(|| panic!("{ran:?}"));
    let level = overall.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    assert!(level.is_some_and(|level| level <= EXPOSURE_MAX), "{}", ran.stdout);
}

#[test]
fn all_system_calls_of_a_server_pass_the_units_filter() {
    if !needs("systemd-analyze") || !needs("strace") {
        return;
    }
    let station = Station::new();
    let command = station.command(&["--log-dir", "logs"]);
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "-o"]).arg(station.path("trace"));
    traced.arg(command.get_program()).args(command.get_args()).current_dir(station.root());
    let mut server = ServerProcess::start(&mut traced);
    station.serve_file("large", 5 << 20);
    station.assert_served(&server, "leaflet");
    station.assert_served(&server, "large");
    assert!(reload(&mut server).contains("read again"));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let trace = poll("the end of the trace", || {
        let trace = std::fs::read_to_string(station.path("trace")).unwrap();
        trace.lines().last()?.contains("exited with 0").then_some(trace)
    });
    let made: BTreeSet<_> =
        trace.lines().filter_map(begun_call).map(|(name, _)| name.to_owned()).collect();
    assert!(made.contains("landlock_restrict_self") && made.contains("accept4"), "{made:?}");
    let unit = std::fs::read_to_string(packaging("systemd/towline.service")).unwrap();
    let mut allowed = allowed_calls(&unit);
    // Of root's alone, which the unit's user is not: SQLite gives its files to the owner of the database.
    allowed.insert("fchown".into());
    let refused: Vec<_> = made.difference(&allowed).cloned().collect();
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn what_long_links_need_is_a_module_and_settings_that_the_kernel_knows() {
    let settings = std::fs::read_to_string(packaging("kernel/sysctl.conf")).unwrap();
    for line in settings.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(" = ").unwrap();
        let file = PathBuf::from("/proc/sys").join(key.replace('.', "/"));
        assert!(file.exists(), "{key}");
        assert!(!value.is_empty(), "{key}");
    }
    let modules = std::fs::read_to_string(packaging("kernel/modules-load.conf")).unwrap();
    let modules: Vec<_> = modules.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(modules, ["tcp_bbr"]);
}
