//! Trees from servers that lie: nothing is written but what was listed and asked for, where it belongs.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tempfile::TempDir;
use towline_client::native::tree::{
    Compare, Destination, LinkPolicy, Run, TreeFetched, TreeOptions, download_tree,
};
use towline_client::native::{Busy, DownloadError, Failure, Keep, Server, SessionError};
use towline_client::retry::Backoff;
use towline_client::throttle::SharedThrottle;
use towline_proto::limits::NAME_DEPTH_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::frame::{Kind, control};
use towline_proto::native::message::tree::{
    Content, Depth, Entries, Entry, EntryKind, FetchTree, List, Rule, SmallFile, Verdict,
};
use towline_proto::native::message::{Answer, ErrorCode, MessageError, Refusal, Request};
use towline_proto::native::preface::Preface;
use towline_store::staged::{Durability, Existing};
use towline_testkit::deadline::within;
use towline_testkit::script::{Script, ScriptServer};

use super::support::{data, refusal};
use crate::support::{Record, address};

type Fetched = Result<TreeFetched, DownloadError>;

/// Fetches a tree from a server whose connections follow these scripts.
async fn fetched_from(scripts: Vec<Script>) -> (TempDir, Fetched) {
    fetched_from_with(scripts, |_| ()).await
}

/// The same with other options.
async fn fetched_from_with(
    scripts: Vec<Script>,
    change: impl FnOnce(&mut TreeOptions),
) -> (TempDir, Fetched) {
    let server = ScriptServer::start(scripts).await;
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let mut options = TreeOptions {
        server: Server::new(address(server.addr()), None, Duration::from_secs(20)),
        folder: None,
        rules: Vec::new(),
        place: Destination::Within(home.path().to_owned(), b"tree".to_vec()),
        busy: Busy::Fail,
        existing: Existing::Refuse,
        compare: Compare::SizeAndTime,
        links: LinkPolicy::KeepInside,
        keep: Keep::TimeAndMode,
        run: Run::Real,
        connections: Some(1),
        backoff: Backoff { retries: 0, ..Backoff::default() },
        durability: Durability::Unsynced,
        limit: SharedThrottle::new(None),
    };
    change(&mut options);
    let fetched = within("the tree", download_tree(&options, &Record::default())).await;
    // The sessions end with it.
    drop(options);
    server.finish().await.expect("the server followed its scripts");
    (home, fetched)
}

fn name(path: &str) -> RemoteName {
    RemoteName::parse(path.as_bytes()).expect("it is a good name")
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: name(path), kind, modified_ns: 1, mode: 0o644, error: None }
}

fn file(path: &str, size: u64) -> Entry {
    entry(path, EntryKind::File { size, sparse: false })
}

/// A connection on which a listing is asked for.
fn lists() -> Script {
    lists_by(Vec::new())
}

/// The same by these rules.
fn lists_by(rules: Vec<Rule>) -> Script {
    let list = List { folder: None, after: None, depth: Depth::Tree, rules, entries_max: 16_384 };
    let greeting = [&Preface::OURS.encode()[..], &Request::List(list).encode()].concat();
    Script::new().expect(greeting).send(Preface::OURS.encode())
}

/// The same, with the answer that these are all.
fn listing(entries: Vec<Entry>) -> Script {
    let entries = Answer::Entries(Entries { entries, ended: true }).encode();
    lists().send(entries).send(Answer::Done.encode()).hold()
}

fn request(paths: &[&str]) -> Vec<u8> {
    let files = paths.iter().map(|path| name(path)).collect();
    Request::FetchTree(FetchTree { folder: None, files, content: Content::Bytes }).encode()
}

/// A connection on which these files are asked for.
fn asked_for(paths: &[&str]) -> Script {
    let greeting = [&Preface::OURS.encode()[..], &request(paths)].concat();
    Script::new().expect(greeting).send(Preface::OURS.encode())
}

fn described(content: &[u8]) -> SmallFile {
    SmallFile { size: content.len(), modified_ns: 1, mode: 0o644, hash: blake3::hash(content) }
}

fn head(file: SmallFile) -> Vec<u8> {
    Answer::File(Ok(file)).encode()
}

fn whole(content: &[u8]) -> Vec<u8> {
    [head(described(content)), data(content)].concat()
}

/// Fails unless the tree failed as a whole, as expected, and nothing has a final name.
fn assert_ended(home: &TempDir, fetched: Fetched, expected: impl Fn(&SessionError) -> bool) {
    let failure = fetched.expect_err("an error").failure;
    assert!(matches!(&failure, Failure::Session { error, .. } if expected(error)), "{failure:?}");
    assert!(!home.path().join("tree").exists());
}

#[tokio::test]
async fn an_honest_server_is_believed() {
    let entries = vec![entry("a", EntryKind::Folder), file("a/b", 3), file("c", 0)];
    let answer = [whole(b"bbb"), head(described(b"")), Answer::Done.encode()].concat();
    let fetches = asked_for(&["a/b", "c"]).send(answer).hold();
    let (home, fetched) = fetched_from(vec![listing(entries), fetches]).await;
    assert_eq!(fetched.unwrap().failures.count, 0);
    assert_eq!(std::fs::read(home.path().join("tree/a/b")).unwrap(), b"bbb");
    assert_eq!(std::fs::read(home.path().join("tree/c")).unwrap(), b"");
}

#[tokio::test]
async fn entries_that_lead_elsewhere_end_it_and_nothing_is_written() {
    for path in [&b"../x"[..], b"/etc/x", b"a/../../x", b"a//b", b"", b"x\0", b".x.towline-part"] {
        // An entry with `rest` and `kind`, as towline.proto numbers them.
        let length = u8::try_from(path.len()).unwrap();
        let entry = [&[0x12, length], path, &[0x18, 1]].concat();
        let entries = [&[0x0a, length + 4], &entry[..], &[0x10, 1]].concat();
        let script = lists().send(control(Kind::Entries, &entries)).hold();
        let (home, fetched) = fetched_from(vec![script]).await;
        let is_a_name =
            |error: &SessionError| matches!(error, SessionError::Message(MessageError::Name(_)));
        assert_ended(&home, fetched, is_a_name);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn entries_twice_or_through_a_link_end_it_and_nothing_is_written() {
    let link = |path| entry(path, EntryKind::Link { target: b"..".to_vec() });
    for entries in [
        vec![file("a", 0), file("a", 0)],
        vec![file("b", 0), file("a", 0)],
        vec![link("a"), file("a/b", 0)],
        vec![file("a", 0), file("a/b", 0)],
        vec![file("a/b", 0)],
    ] {
        let entries = Answer::Entries(Entries { entries, ended: true }).encode();
        let (home, fetched) = fetched_from(vec![lists().send(entries).hold()]).await;
        let is_known = |error: &SessionError| {
            matches!(error, SessionError::OutOfOrder(_) | SessionError::BelowNoFolder(_))
        };
        assert_ended(&home, fetched, is_known);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn entries_that_the_rules_leave_out_end_it_and_nothing_is_written() {
    let excluded = |pattern: &str| Rule { verdict: Verdict::Exclude, pattern: pattern.into() };
    let included = |pattern: &str| Rule { verdict: Verdict::Include, pattern: pattern.into() };
    let folder = |path| entry(path, EntryKind::Folder);
    let link = |path| entry(path, EntryKind::Link { target: b"x".to_vec() });
    for (rules, entries) in [
        (vec![included("/*.gz"), excluded("*/")], vec![folder(".ssh"), file(".ssh/keys", 1)]),
        (vec![included("/*.gz"), excluded("*/")], vec![file(".bashrc", 1)]),
        (vec![included("*.gz")], vec![folder("a"), file("a/b.gz", 1), link("a/c")]),
        (vec![excluded("secret/")], vec![folder("a"), folder("a/secret")]),
        (vec![excluded("secret")], vec![entry("secret", EntryKind::Other)]),
    ] {
        let answer = Answer::Entries(Entries { entries, ended: true }).encode();
        let script = lists_by(rules.clone()).send(answer).hold();
        let (home, fetched) =
            fetched_from_with(vec![script], |options| options.rules = rules).await;
        assert_ended(&home, fetched, |error| {
            matches!(error, SessionError::NotAskedFor(_)) && !error.is_retryable()
        });
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn entries_that_the_rules_admit_are_believed() {
    let rules = [(Verdict::Include, "*.gz"), (Verdict::Exclude, "secret/")]
        .map(|(verdict, pattern)| Rule { verdict, pattern: pattern.into() })
        .to_vec();
    let entries = vec![entry("a", EntryKind::Folder), file("a/secret.gz", 0), file("b.gz", 1)];
    let answer = Answer::Entries(Entries { entries, ended: true }).encode();
    let list = lists_by(rules.clone()).send(answer).send(Answer::Done.encode()).hold();
    let answer = [head(described(b"")), whole(b"b"), Answer::Done.encode()].concat();
    let scripts = vec![list, asked_for(&["a/secret.gz", "b.gz"]).send(answer).hold()];
    let (home, fetched) = fetched_from_with(scripts, |options| options.rules = rules).await;
    assert_eq!(fetched.unwrap().failures.count, 0);
    assert_eq!(std::fs::read(home.path().join("tree/b.gz")).unwrap(), b"b");
}

#[tokio::test]
async fn a_listing_that_never_goes_on_and_never_ends_is_given_up() {
    let nothing = Answer::Entries(Entries { entries: Vec::new(), ended: false }).encode();
    for answer in [Answer::Done.encode(), nothing] {
        let (home, fetched) = fetched_from(vec![lists().send(answer).hold()]).await;
        assert_ended(&home, fetched, |error| matches!(error, SessionError::OutOfPlace));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn sizes_whose_sum_no_number_holds_are_told_as_the_most_that_one_holds() {
    let huge = i64::MAX.unsigned_abs();
    let entries = ["a", "b", "c", "d"].map(|path| file(path, huge)).to_vec();
    let (home, fetched) =
        fetched_from_with(vec![listing(entries)], |options| options.run = Run::Dry).await;
    let TreeFetched { tally, .. } = fetched.unwrap();
    assert_eq!((tally.found_files, tally.found_bytes), (4, u64::MAX));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_tree_as_deep_as_names_may_be_comes_and_a_deeper_one_is_no_name() {
    let path = |depth: usize| vec!["d"; depth].join("/");
    let folders = (1..NAME_DEPTH_MAX).map(|depth| entry(&path(depth), EntryKind::Folder));
    let deepest = path(NAME_DEPTH_MAX);
    let entries = folders.chain([file(&deepest, 1)]).collect();
    let answer = [whole(b"x"), Answer::Done.encode()].concat();
    let scripts = vec![listing(entries), asked_for(&[&deepest]).send(answer).hold()];
    let (home, fetched) = fetched_from(scripts).await;
    assert_eq!(fetched.unwrap().failures.count, 0);
    assert_eq!(std::fs::read(home.path().join("tree").join(deepest)).unwrap(), b"x");
    assert!(RemoteName::parse(path(NAME_DEPTH_MAX + 1).as_bytes()).is_err());
}

#[tokio::test]
async fn files_that_were_not_asked_for_end_it() {
    let extra = [whole(b"bbb"), whole(b"unasked"), Answer::Done.encode()].concat();
    let without_a_head = [data(b"bbb"), Answer::Done.encode()].concat();
    let too_early = Answer::Done.encode();
    let of_a_piece = Answer::Hole { bytes: 3 }.encode();
    let more_than_said = [head(described(b"bbb")), data(b"bbbb")].concat();
    let without_content = [head(described(b"bbb")), head(described(b"bbb"))].concat();
    for answer in [extra, without_a_head, too_early, of_a_piece, more_than_said, without_content] {
        let scripts = vec![listing(vec![file("b", 3)]), asked_for(&["b"]).send(answer).hold()];
        let (home, fetched) = fetched_from(scripts).await;
        assert_ended(&home, fetched, |error| matches!(error, SessionError::OutOfPlace));
    }
}

#[tokio::test]
async fn content_that_is_never_what_its_hash_says_fails_alone() {
    let lie = [head(described(b"bbb")), data(b"xxx"), Answer::Done.encode()].concat();
    let first =
        [head(described(b"bbb")), data(b"xxx"), whole(b"c"), Answer::Done.encode()].concat();
    let mut fetches = asked_for(&["b", "c"]).send(first);
    for _ in 1..5 {
        fetches = fetches.expect(request(&["b"])).send(lie.clone());
    }
    let scripts = vec![listing(vec![file("b", 3), file("c", 1)]), fetches.hold()];
    let (home, fetched) = fetched_from(scripts).await;
    let failures = fetched.unwrap().failures;
    assert_eq!((failures.count, &failures.first[0].0), (1, &name("b")));
    assert!(failures.first[0].1.contains("damaged each time"), "{failures:?}");
    assert!(!home.path().join("tree/b").exists());
    assert_eq!(std::fs::read(home.path().join("tree/c")).unwrap(), b"c");
}

#[tokio::test]
async fn a_file_that_is_refused_fails_alone_and_is_told_defused() {
    let refusal = Refusal { code: ErrorCode::Io, text: "no \u{1b}[2J\nno".into(), retry: false };
    let refused = Answer::File(Err(refusal.clone())).encode();
    let answer = [refused, whole(b"c"), Answer::Done.encode()].concat();
    let unreadable = Entry { error: Some(refusal), ..entry("d", EntryKind::Folder) };
    let scripts = vec![
        listing(vec![file("b", 3), file("c", 1), unreadable]),
        asked_for(&["b", "c"]).send(answer).hold(),
    ];
    let (home, fetched) = fetched_from(scripts).await;
    let failures = fetched.unwrap().failures;
    assert_eq!(failures.count, 2);
    for (_, reason) in &failures.first {
        assert!(reason.contains("no \\x1b[2J\\nno") || !reason.contains('\u{1b}'), "{reason:?}");
        assert!(!reason.contains('\n'), "{reason:?}");
    }
    assert_eq!(std::fs::read(home.path().join("tree/c")).unwrap(), b"c");
}

#[tokio::test]
async fn a_large_file_whose_refusal_may_pass_is_not_asked_for_forever() {
    let stat = Request::Stat { name: name("b") }.encode();
    let refused = refusal(ErrorCode::Io, "the disk does not answer", true).encode();
    let asked = Script::new().expect([&Preface::OURS.encode()[..], &stat].concat());
    let scripts = vec![
        listing(vec![file("b", 2 << 20)]),
        asked.send(Preface::OURS.encode()).send(refused).hold(),
    ];
    let (_home, fetched) = fetched_from(scripts).await;
    let failures = fetched.unwrap().failures;
    assert_eq!(failures.count, 1);
    assert!(failures.first[0].1.contains("the disk does not answer"), "{failures:?}");
}

#[tokio::test]
async fn absurd_times_and_modes_do_no_harm() {
    let absurd = |modified_ns| SmallFile { modified_ns, mode: u32::MAX, ..described(b"b") };
    let answer = [
        head(absurd(i64::MAX)),
        data(b"b"),
        head(absurd(i64::MIN)),
        data(b"b"),
        Answer::Done.encode(),
    ]
    .concat();
    let folder = Entry { mode: 0, modified_ns: i64::MIN, ..entry("a", EntryKind::Folder) };
    let scripts = vec![
        listing(vec![folder, file("a/b", 1), file("a/c", 1)]),
        asked_for(&["a/b", "a/c"]).send(answer).hold(),
    ];
    let (home, fetched) = fetched_from(scripts).await;
    assert_eq!(fetched.unwrap().failures.count, 0);
    for path in ["tree/a/b", "tree/a/c"] {
        let metadata = std::fs::metadata(home.path().join(path)).unwrap();
        // Whether everybody may write is for the user's mask to say.
        assert_eq!(metadata.mode() & 0o7777 & !0o002, 0o775);
    }
    let folder = std::fs::metadata(home.path().join("tree/a")).unwrap();
    assert_eq!(folder.mode() & 0o7777, 0o700, "its owner can use it again");
}

#[tokio::test]
async fn what_was_answered_before_an_error_is_told_where_nobody_asks_again() {
    let refusal = Refusal { code: ErrorCode::Io, text: "no".into(), retry: false };
    let refused = Answer::File(Err(refusal)).encode();
    // The last word comes twice, which is an error of the protocol.
    let answer = [refused, whole(b"bbb"), Answer::Done.encode(), Answer::Done.encode()].concat();
    let fetches = asked_for(&["a", "b"]).send(answer).hold();
    let scripts = vec![listing(vec![file("a", 3), file("b", 3)]), fetches];
    let (home, fetched) = fetched_from_with(scripts, |options| options.backoff.retries = 1).await;
    let failures = fetched.unwrap().failures;
    assert_eq!((failures.count, &failures.first[0].0), (1, &name("a")));
    assert_eq!(std::fs::read(home.path().join("tree/b")).unwrap(), b"bbb");
}

#[tokio::test]
async fn heartbeats_without_an_answer_are_borne_only_so_long() {
    let alive = Answer::Heartbeat.encode().repeat(10_001);
    let fetches = asked_for(&["a"]).send(alive).hold();
    let (home, fetched) = fetched_from(vec![listing(vec![file("a", 3)]), fetches]).await;
    assert_ended(&home, fetched, |error| matches!(error, SessionError::OnlyHeartbeats));
}
