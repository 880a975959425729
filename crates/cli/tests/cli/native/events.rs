//! What programs are told of a run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

use super::support::{Ground, MIB, got};

#[tokio::test]
async fn every_event_names_what_it_is_about() {
    let ground = Ground::with_file(MIB);
    let odd = OsStr::from_bytes(b"odd \xff");
    std::fs::create_dir(ground.path("server_files/tree")).unwrap();
    for folder in ["server_files", "server_files/tree"] {
        std::fs::write(ground.path(folder).join(odd), "content").unwrap();
    }
    let server = format!("towline://{}", ground.server.addr());
    let urls = ["file", "odd%20%FF", "missing"].map(|path| format!("{server}/{path}"));
    let run = got(ground.get_url(&urls[0], &[&urls[1], &urls[2], "-d", "got"])).await;
    run.assert_failed(23);
    let (last, events) = run.events.split_last().unwrap();
    assert_eq!(last["url"], Value::Null);
    for url in &urls {
        assert!(events.iter().any(|event| event["url"] == **url), "{url}: {events:?}");
    }
    for event in events {
        assert!(urls.iter().any(|url| event["url"] == **url), "{event}");
    }
    let hex_of = |events: &[Value], name: &str| {
        let event =
            events.iter().find(|event| event["event"] == name && event["path_hex"] != Value::Null);
        hex::decode(event.unwrap()["path_hex"].as_str().unwrap()).unwrap()
    };
    for name in ["published", "done"] {
        assert_eq!(hex_of(events, name), b"got/odd \xff");
    }

    // What is here is another file.
    std::fs::create_dir(ground.path("tree")).unwrap();
    std::fs::write(ground.path("tree").join(odd), "mine").unwrap();
    let run = got(ground.get_url(&format!("{server}/tree"), &["-r"])).await;
    run.assert_failed(23);
    let url = format!("{server}/tree");
    assert!(run.events.iter().all(|event| event["url"] == *url), "{run:?}");
    assert_eq!(hex_of(&run.events, "file_failed"), b"odd \xff");
}
