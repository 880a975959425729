//! What an earlier run left, and a source that is another version before it was looked at.

use std::fs::File;

use towline_client::journal;
use towline_proto::native::message::{Answer, ErrorCode, Info, Request, Version};
use towline_proto::piece::{Geometry, PieceHash, PieceHasher};
use towline_testkit::script::{Script, ScriptServer};

use super::support::{Fetch, data, described, info, name, refusal};

const MIB: u64 = 1 << 20;

/// Pieces that are here, all zeros: enough that looking at them takes longer than the server's answer.
const KEPT: u32 = 512;

/// The content of the piece behind them.
const REST: &[u8] = b"rest";

fn described_as(version: &Version) -> (Info, Script) {
    let geometry = Geometry::of(u64::from(KEPT) * MIB + REST.len() as u64).expect("it is a size");
    let info = Info { version: version.clone(), geometry, ..info(REST) };
    (info.clone(), described(&Answer::Info(info)))
}

/// The request for the piece that is not here.
fn fetch_rest(version: &Version) -> Vec<u8> {
    let runs = std::iter::once(KEPT..KEPT + 1).collect();
    Request::Fetch { name: name(), version: version.clone(), runs }.encode()
}

fn hash(geometry: Geometry, index: u32, content: &[u8]) -> PieceHash {
    let mut hasher = PieceHasher::new(geometry, index).expect("there is such a piece");
    hasher.update(content);
    hasher.finish().expect("all its bytes were taken")
}

/// What a killed run leaves that had all pieces but the last.
fn leave_part(fetch: &Fetch, info: &Info, hashes: &[PieceHash]) {
    let part = File::create(fetch.target().with_file_name(".file.towline-part"))
        .expect("the folder is there");
    part.set_len(info.geometry.file_bytes()).expect("the disk has holes");
    let mut bytes = journal::encode_source(&info.version, info.geometry.file_bytes());
    for (index, hash) in (0..KEPT).zip(hashes) {
        bytes.extend(journal::encode_piece(index, *hash));
    }
    std::fs::write(
        fetch.target().with_file_name("..file.journal.towline-part.towline-part"),
        bytes,
    )
    .expect("the folder is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_transfer_whose_source_changes_at_once_keeps_equal_pieces() {
    let (old, new) = (Version::new(b"old").unwrap(), Version::new(b"new").unwrap());
    let (info, script) = described_as(&old);
    let changed = refusal(ErrorCode::Changed, "changed", true).encode();
    let first = script.expect(fetch_rest(&old)).send(changed).hold();

    let zeros = vec![0; usize::try_from(MIB).unwrap()];
    let mut hashes: Vec<_> = (0..KEPT).map(|index| hash(info.geometry, index, &zeros)).collect();
    hashes.push(hash(info.geometry, KEPT, REST));
    // Of no more than is here: the server may have to hash it first.
    let listed = Request::Hashes { name: name(), version: new.clone(), pieces: 0..KEPT };
    let list = Answer::HashList { first: 0, hashes: hashes[..KEPT as usize].to_vec() }.encode();
    let piece = Answer::Piece { index: KEPT, hash: hashes[KEPT as usize] }.encode();
    let (_, script) = described_as(&new);
    let second = script
        .expect(listed.encode())
        .send(list)
        // Nothing else is asked for.
        .expect(fetch_rest(&new))
        .send([data(REST), piece, Answer::Done.encode()].concat())
        .hold();

    let server = ScriptServer::start(vec![first, second]).await;
    let fetch = Fetch::new(server.addr());
    leave_part(&fetch, &info, &hashes);
    let tally = fetch.run().await.unwrap().tally;
    server.finish().await.unwrap();
    assert_eq!(tally.kept_bytes, u64::from(KEPT) * MIB, "{tally:?}");
    assert_eq!(tally.received_bytes, REST.len() as u64, "{tally:?}");
}
