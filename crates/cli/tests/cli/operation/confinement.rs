//! What the kernel keeps a server from, also one that was taken over.

use std::fs::{create_dir, read_to_string, rename, write};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use towline_testkit::process::ServerProcess;

use super::support::{CONFIGURATION, Station, reload};
use crate::access::support::pin;
use crate::support::{begun_call, needs, needs_root, run};
use towline_testkit::authority::Authority;

/// Whether this kernel confined the server, or says why the test ends here.
fn is_confined(server: &ServerProcess) -> bool {
    let line = server.wait_line("confine");
    let is_confined = line.contains("confined to ") && line.ends_with("(Landlock)");
    if !is_confined {
        towline_testkit::lacking("the kernel has no Landlock, or too old a one");
    }
    is_confined
}

/// A server of a configuration, and a folder beside its share that it was not told of.
fn confined() -> Option<(Station, ServerProcess)> {
    let station = Station::new();
    create_dir(station.path("outside")).unwrap();
    write(station.path("outside/leaflet"), "another one").unwrap();
    let server = station.serve(&[]);
    is_confined(&server).then_some((station, server))
}

#[test]
fn a_server_says_on_one_line_what_it_is_confined_to() {
    let Some((station, server)) = confined() else { return };
    let lines = server.lines();
    let told: Vec<_> = lines.iter().filter(|line| line.contains("confined")).collect();
    let kept = station.path("kept");
    assert!(told.len() == 1 && told[0].contains(kept.to_str().unwrap()), "{told:?}");
    let free = station.serve(&["--confine=false"]);
    free.wait_line("not confined, as configured");
}

#[test]
fn a_reload_that_leads_elsewhere_is_refused_and_a_restart_follows_it() {
    let Some((station, mut server)) = confined() else { return };
    let refused = |server: &mut ServerProcess, name: &str| {
        let said = reload(server);
        for part in ["rules stay", name, "Permission denied", "restart it"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        station.assert_served(server, "leaflet");
    };
    // Another folder in the configuration.
    station.configure(&CONFIGURATION.replace("server_files", "outside"));
    refused(&mut server, "outside");
    // The same name, and a link to another folder in its place.
    station.configure(CONFIGURATION);
    rename(station.path("server_files"), station.path("moved")).unwrap();
    symlink("outside", station.path("server_files")).unwrap();
    refused(&mut server, "server_files");
    // A new folder of the same name: the process was confined to the old one.
    std::fs::remove_file(station.path("server_files")).unwrap();
    create_dir(station.path("server_files")).unwrap();
    refused(&mut server, "server_files");
    // What was there is served again.
    std::fs::remove_dir(station.path("server_files")).unwrap();
    rename(station.path("moved"), station.path("server_files")).unwrap();
    assert!(reload(&mut server).contains("read again"));
    // After a restart it is the other folder.
    station.configure(&CONFIGURATION.replace("server_files", "outside"));
    write(station.path("outside/elsewhere"), "").unwrap();
    station.assert_served(&station.serve(&[]), "elsewhere");
}

#[test]
fn a_server_that_is_not_to_be_confined_is_not() {
    let station = Station::new();
    create_dir(station.path("outside")).unwrap();
    write(station.path("outside/elsewhere"), "another one").unwrap();
    station.configure(&format!("confine = false\n{CONFIGURATION}"));
    let mut server = station.serve(&[]);
    station
        .configure(&format!("confine = false\n{CONFIGURATION}").replace("server_files", "outside"));
    assert!(reload(&mut server).contains("read again"));
    station.assert_served(&server, "elsewhere");
}

#[test]
fn files_that_are_replaced_by_others_of_their_names_are_read_by_a_confined_server() {
    let station = Station::new();
    let authority = Authority::new();
    let folder = |name: &str| station.path("tls").join(name);
    // As tools for certificates lay them out: links, which a renewal leads to new files.
    let renew = |number: u32| {
        let issued = authority.issue("server", "127.0.0.1");
        std::fs::create_dir_all(folder("live")).unwrap();
        std::fs::create_dir_all(folder("archive")).unwrap();
        for (from, name) in [(issued.certificate, "cert"), (issued.key, "key")] {
            let numbered = format!("{name}{number}.pem");
            std::fs::copy(from, folder("archive").join(&numbered)).unwrap();
            let link = folder("live").join("link");
            symlink(format!("../archive/{numbered}"), &link).unwrap();
            rename(link, folder("live").join(format!("{name}.pem"))).unwrap();
        }
    };
    renew(1);
    let tls = "[tls]\ncert = \"tls/live/cert.pem\"\nkey = \"tls/live/key.pem\"\n";
    station.configure(&format!("{CONFIGURATION}{tls}"));
    let mut server = station.serve(&[]);
    if !is_confined(&server) {
        return;
    }
    renew(2);
    station.configure(&format!("{CONFIGURATION}{tls}[[user]]\nname = \"ann\"\n[[rule]]\npath = \"/data\"\nwho = [\"anonymous\"]\nallow = [\"read\"]\n"));
    reload(&mut server);
    server.wait_line("rules were read again");
    // A token, whose file is replaced as well.
    let token = run(&mut station.towline(["token", "new", "ann", "-c", "towline.toml"]));
    assert_eq!(token.code, Some(0), "{token:?}");
    server.wait_line("the credentials were read again");
    station.assert_served(&server, "leaflet");
}

#[test]
fn a_listing_too_long_for_memory_is_sorted_where_a_confined_server_may_write() {
    /// Names of more bytes than a walk holds in memory.
    const NAMES: usize = 48_000;
    let Some((station, server)) = confined() else { return };
    let many = station.path("server_files/many");
    create_dir(&many).unwrap();
    for number in 0..NAMES {
        std::fs::File::create(many.join(format!("{number:0>240}"))).unwrap();
    }
    let (pin, url) = (pin(&server), format!("{}/data/many", server.addr()));
    let listed = run(&mut station.towline(["ls", "--pin", &pin, &url]));
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), NAMES), "{}", listed.stderr);
}

#[test]
fn the_kernel_refuses_what_lies_outside() {
    if !needs("strace") {
        return;
    }
    let station = Station::new();
    create_dir(station.path("outside")).unwrap();
    let command = station.command(&[]);
    // Traced from beside, so that the server is our child.
    let mut traced = Command::new("strace");
    let calls = "trace=openat,openat2,clone,clone3,landlock_restrict_self";
    traced.args(["-D", "-f", "-e", calls, "-o"]).arg(station.path("trace"));
    traced.arg(command.get_program()).args(command.get_args()).current_dir(station.root());
    let mut server = ServerProcess::start(&mut traced);
    if !is_confined(&server) {
        return;
    }
    station.configure(&CONFIGURATION.replace("server_files", "outside"));
    assert!(reload(&mut server).contains("restart it"));
    server.signal(towline_testkit::process::Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let trace = towline_testkit::deadline::poll("the end of the trace", || {
        let trace = read_to_string(station.path("trace")).unwrap();
        trace.contains("+++ exited with 0 +++").then_some(trace)
    });
    let first = |calls: &[&str]| {
        let is_one = |(name, _): (&str, &str)| calls.contains(&name);
        trace.lines().position(|line| begun_call(line).is_some_and(is_one))
    };
    // Threads are started by one that is confined, and are as it is.
    let confined = first(&["landlock_restrict_self"]).unwrap();
    assert!(confined < first(&["clone", "clone3"]).unwrap(), "{trace}");
    let outside = format!("{:?}", station.path("outside"));
    let refused = trace.lines().find(|line| line.contains(&outside)).unwrap();
    assert!(refused.contains("EACCES"), "{refused}");
}

/// What a debugger has every thread of a server try, as a call of the C library, and what the kernel must answer.
const TRIES: [(&str, &str, &str); 5] = [
    ("read", "open(\"/etc/passwd\", 0)", EACCES),
    ("make", "open(\"/tmp/towline-was-here\", 0101, 0600)", EACCES),
    (
        "connect",
        "((int (*)(int, char *, int)) connect)((int) socket(2, 1, 0), $address, 16)",
        EACCES,
    ),
    ("bind", "((int (*)(int, char *, int)) bind)((int) socket(2, 1, 0), $address, 16)", EACCES),
    ("signal", "kill((int) getppid(), 0)", EPERM),
];

const EPERM: &str = "1";
const EACCES: &str = "13";

/// Begins with 127.0.0.1:9999 as a `sockaddr_in`.
fn debugger_script() -> String {
    let begin = "set pagination off\nset $address = (char *) malloc(16)\n\
        set *(unsigned short *) $address = 2\n\
        set *(unsigned short *) ($address + 2) = 0x0f27\n\
        set *(unsigned *) ($address + 4) = 0x0100007f\n";
    let tried = TRIES.iter().map(|(what, call, _)| {
        format!(
            "thread apply all -q -s printf \"{what} %d\\n\", \
             (int) {call} < 0 ? *(int *) __errno_location() : 0\n"
        )
    });
    begin.to_owned() + &tried.collect::<String>()
}

#[test]
fn a_server_that_was_taken_over_reads_makes_connects_binds_and_signals_nothing_outside() {
    if !needs_root() || !needs("gdb") {
        return;
    }
    let Some((station, server)) = confined() else { return };
    write(station.path("script"), debugger_script()).unwrap();
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set auto-load no", "-p", &server.id().to_string()]);
    gdb.arg("-x").arg(station.path("script")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = run(&mut gdb);
    for (what, _, errno) in TRIES {
        let answer = |line: &str| Some(line.strip_prefix(what)?.trim().to_owned());
        let answers: Vec<_> = ran.stdout.lines().filter_map(answer).collect();
        assert!(answers.len() > 1, "each thread answers: {ran:?}");
        assert!(answers.iter().all(|answer| answer == errno), "{what}: {ran:?}");
    }
}
