//! Servers that an authority vouches for: the user's own, or the system's.

use std::process::Command;

use towline_testkit::process::ServerProcess;

use super::{Field, pin};
use crate::support::run;
use towline_testkit::authority::{Authority, Issued};

fn serve(field: &Field, issued: &Issued) -> ServerProcess {
    let Issued { certificate, key } = issued;
    field.serve(&["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()])
}

#[test]
fn an_authority_that_is_asked_for_is_remembered_and_its_new_certificates_are_fine() {
    let (field, authority) = (Field::new(), Authority::new());
    let server = serve(&field, &authority.issue("first", "127.0.0.1"));
    let (address, file) = (server.addr(), authority.file());
    let ca = file.to_str().unwrap();
    let said = field.gets(address, "first", &["--ca", ca]);
    assert!(said.contains(ca), "{said}");
    assert_eq!(field.known(), format!("{address} ca {ca}\n"));
    let said = field.gets(address, "known", &[]);
    assert!(!said.contains(ca), "{said}");

    let Issued { certificate, key } = authority.issue("second", "127.0.0.1");
    let renewed = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = field.serve_instead(server, &renewed);
    field.gets(address, "renewed", &[]);

    // A key of its own is not enough any more, whatever it is.
    let server = field.serve_instead(server, &[]);
    let own = pin(&server);
    let said = field.is_refused(address, &[]);
    let command = format!("towline pins forget {address}");
    for part in [ca, &own, &command, "listening in"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = field.gets(address, "by its key", &["--pin", &own]);
    assert!(said.contains("as before") && said.contains(ca), "{said}");
    assert_eq!(field.known(), format!("{address} pin {own}\n"));
}

#[test]
fn an_authority_of_the_system_counts_at_first_contact_and_from_then_on() {
    let (field, authority) = (Field::new(), Authority::new());
    let server = serve(&field, &authority.issue("server", "127.0.0.1"));
    let address = server.addr();
    let trusting = |mut command: Command| run(command.env("SSL_CERT_FILE", authority.file()));
    for folder in ["first", "known"] {
        let ran = trusting(field.get(address, folder, &["-q"]));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        assert_eq!(field.known(), format!("{address} ca system\n"));
    }
    let server = field.serve_instead(server, &[]);
    let ran = trusting(field.get(address, "refused", &[]));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains(&pin(&server)) && ran.stderr.contains("this system"), "{ran:?}");
    assert_eq!(field.known(), format!("{address} ca system\n"));
}

#[test]
fn a_certificate_for_another_name_or_by_another_authority_is_refused() {
    let (field, authority) = (Field::new(), Authority::new());
    let elsewhere = serve(&field, &authority.issue("elsewhere", "other.example"));
    let here = serve(&field, &authority.issue("here", "127.0.0.1"));
    let (file, other) = (authority.file(), Authority::new().file());
    let said = field.is_refused(elsewhere.addr(), &["--ca", file.to_str().unwrap()]);
    assert!(said.contains("other.example"), "{said}");
    // The address is right, but not by this name.
    let by_name = format!("localhost:{}", here.addr().port());
    field.is_refused(by_name, &["--ca", file.to_str().unwrap()]);
    let own = field.serve(&[]);
    field.is_refused(own.addr(), &["--ca", file.to_str().unwrap()]);
    // Gone with its authority, so that it cannot even be asked.
    let ran = run(&mut field.get(here.addr(), "got", &["--ca", other.to_str().unwrap()]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let other = Authority::new();
    field.is_refused(here.addr(), &["--ca", other.file().to_str().unwrap()]);
}

#[test]
fn an_authority_that_is_remembered_and_gone_vouches_for_nobody() {
    let (field, authority) = (Field::new(), Authority::new());
    let server = serve(&field, &authority.issue("server", "127.0.0.1"));
    let file = authority.file();
    field.gets(server.addr(), "got", &["--ca", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let said = field.is_refused(server.addr(), &[]);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
}
