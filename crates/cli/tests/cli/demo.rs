//! `towline demo`.

use crate::support::{Site, run};

#[test]
fn the_demo_moves_a_file_shows_a_cut_and_leaves_nothing_behind() {
    let site = Site::new();
    std::fs::create_dir(site.path("tmp")).unwrap();
    let mut demo = site.towline(["demo", "--size", "8M"]);
    let ran = run(demo.env("TMPDIR", site.path("tmp")));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("all bytes match"), "{ran:?}");
    assert!(ran.stdout.contains("2 attempts") && ran.stdout.contains("resumed"), "{ran:?}");
    assert_eq!(std::fs::read_dir(site.path("tmp")).unwrap().count(), 0);
    assert!(!site.path("home").exists() && !site.path("state").exists());
}

#[test]
fn the_demo_takes_a_file_of_the_users() {
    let site = Site::new();
    site.serve_file("mine", 100_000);
    let ran = run(&mut site.towline(["demo", "--file", "server_files/mine"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&mut site.towline(["demo", "--file", "missing"]));
    assert_eq!(ran.code, Some(3), "{ran:?}");
}
