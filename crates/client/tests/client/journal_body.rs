//! What must hold for every journal that is found, also for `fuzz/`.

use towline_client::journal::{Journal, decode, encode_piece, encode_source};
use towline_proto::limits::PIECES_MAX;

/// The body of the fuzz target: what is read is within the caps, and is the same when written and read again.
pub(crate) fn journal(bytes: &[u8]) {
    let Some(read) = decode(bytes).expect("bytes can be read") else { return };
    assert!(read.whole_bytes <= bytes.len() as u64);
    assert!(read.pieces.iter().all(|(index, _)| index < PIECES_MAX));
    let mut again = encode_source(&read.version, read.file_bytes);
    for (index, hash) in read.pieces.iter() {
        again.extend(encode_piece(index, hash));
    }
    let whole_bytes = again.len() as u64;
    let reread = decode(&again[..]).expect("bytes can be read");
    assert_eq!(reread, Some(Journal { whole_bytes, ..read }));
}
