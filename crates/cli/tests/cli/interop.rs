//! Both ways with peers that were written from the classic system's document alone.

use towline_testkit::python::Python;
use towline_testkit::skip;

use crate::support::{Site, is_full, run};

/// Sizes around the document's chunk and ours, and one that takes a while.
const SIZES: [u64; 7] = [0, 1, 4_095, 4_096, 4_097, 1 << 20, (5 << 20) + 3];

fn python() -> Option<Python> {
    let python = Python::find();
    assert!(python.is_some() || !is_full(), "python3 is needed for the full checks");
    if python.is_none() {
        skip("there is no python3");
    }
    python
}

#[test]
fn towlines_client_fetches_from_a_python_server() {
    let Some(python) = python() else { return };
    let site = Site::new();
    let server = python.server(site.root());
    for size in SIZES {
        let name = format!("{size}.bin");
        site.serve_file(&name, size);
        let ran = run(&mut site.client(&name, server.addr()));
        assert_eq!(ran.code, Some(0), "{size} bytes: {ran:?}");
        site.assert_fetched(&name);
    }
    let ran = run(&mut site.client("missing", server.addr()));
    assert_eq!(ran.code, Some(3), "{ran:?}");
}

#[test]
fn a_python_client_fetches_from_towlines_server() {
    let Some(python) = python() else { return };
    let site = Site::new();
    let server = site.server();
    let client = |name: &str| python.client(site.root(), name, "127.0.0.1", server.addr().port());
    for size in SIZES {
        let name = format!("{size}.bin");
        site.serve_file(&name, size);
        let ran = run(client(&name).stdout(std::process::Stdio::piped()));
        assert_eq!(ran.code, Some(0), "{size} bytes: {ran:?}");
        site.assert_fetched(&name);
    }
    let ran = run(client("missing").stdout(std::process::Stdio::piped()));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("File not found: missing"), "{ran:?}");
}

#[test]
fn a_file_in_a_sub_folder_is_fetched_both_ways() {
    let Some(python) = python() else { return };
    let site = Site::new();
    site.serve_file("sub/folder/file.bin", 10_000);

    let python_server = python.server(site.root());
    let ran = run(&mut site.client("sub/folder/file.bin", python_server.addr()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    site.assert_fetched("sub/folder/file.bin");

    let server = site.server();
    let port = server.addr().port();
    let status =
        python.client(site.root(), "sub/folder/file.bin", "127.0.0.1", port).status().unwrap();
    assert!(status.success());
    let served = std::fs::read(site.path("server_files/sub/folder/file.bin")).unwrap();
    assert_eq!(std::fs::read(site.path("client_downloads/file.bin")).unwrap(), served);
}
