//! What may be said on the command line of whom to trust.

use super::{Field, connections};
use crate::support::run;
use towline_testkit::authority::Authority;

#[test]
fn contradictions_and_what_cannot_be_used_exit_2_before_anything_begins() {
    let field = Field::new();
    let server = field.serve(&[]);
    let pin = format!("sha256:{}", "0f".repeat(32));
    let authority = Authority::new();
    let file = authority.file();
    let ca = file.to_str().unwrap();
    for (args, part) in [
        (&["--pin", &pin, "--plain"][..], "--plain"),
        (&["--ca", ca, "--plain"], "--plain"),
        (&["--pin", &pin, "--ca", ca], "--ca"),
        (&["--pin", "sha256:12"], "64 hexadecimal digits"),
        (&["--ca", "/no/such/file"], "/no/such/file"),
        (&["--ca", "/dev/null"], "/dev/null"),
    ] {
        let ran = run(&mut field.get(server.addr(), "got", args));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(connections(&server), 0);
}
