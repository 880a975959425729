//! The file of known servers, by `towline pins` and by hand.

use towline_proto::escape::EscapedPath;

use super::{Field, connections, pin};

const PIN: &str = "sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

#[test]
fn known_servers_are_listed_and_forgotten_and_comments_stay() {
    let field = Field::new();
    let none = field.pins(&["list"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""), "{none:?}");
    let ours = "# ours\nfiles.example:9999 pin PIN\n[::1]:80 ca system\nb.example:1 ca /a b.pem\n";
    field.set_known(&ours.replace("PIN", PIN));
    let listed = field.pins(&["list"]);
    assert_eq!(
        listed.stdout,
        format!(
            "files.example:9999  pin {PIN}\n\
             [::1]:80            ca system\n\
             b.example:1         ca /a b.pem\n"
        )
    );
    let listed = field.pins(&["list", "--json"]);
    let events: Vec<serde_json::Value> =
        listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["pin"], PIN);
    assert_eq!((&events[1]["server"], &events[1]["ca"]), (&"[::1]:80".into(), &"system".into()));
    assert_eq!(events[2]["ca"], "/a b.pem");

    // Without a port, the usual one is meant; and a name has many spellings.
    let forgotten = field.pins(&["forget", "Files.Example."]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    assert!(forgotten.stdout.contains(PIN), "{forgotten:?}");
    let again = field.pins(&["forget", "files.example"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    assert_eq!(field.pins(&["forget", "[::1]:80"]).code, Some(0));
    let rest = std::fs::read_to_string(field.known_path()).unwrap();
    assert_eq!(rest, "# ours\nb.example:1 ca /a b.pem\n");
}

#[test]
fn a_malformed_line_is_named_and_nobody_is_asked_for_anything() {
    let field = Field::new();
    let server = field.serve(&[]);
    field.set_known("# ours\nfiles.example:9999 pin sha256:12\n");
    for said in [
        field.is_refused(server.addr(), &[]),
        field.is_refused(server.addr(), &["--pin", PIN]),
        field.pins(&["list"]).stderr,
        field.pins(&["forget", "files.example"]).stderr,
    ] {
        let place = format!("{}, line 2", EscapedPath(&field.known_path()));
        assert!(said.contains(&place), "{said}");
    }
    assert_eq!(connections(&server), 0);
    let text = std::fs::read_to_string(field.known_path()).unwrap();
    assert_eq!(text, "# ours\nfiles.example:9999 pin sha256:12\n");
}

#[test]
fn a_server_that_cannot_be_remembered_is_told_and_the_transfer_goes_on() {
    let field = Field::new();
    let server = field.serve(&[]);
    // A folder in the place of the lock, which not even root can write to.
    std::fs::create_dir_all(field.path("state/towline/known-servers.lock")).unwrap();
    let said = field.gets(server.addr(), "got", &["-q"]);
    assert!(said.contains("cannot be remembered") && said.contains(&pin(&server)), "{said}");
    assert_eq!(field.known(), "");
}
