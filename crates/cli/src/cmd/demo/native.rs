//! The native protocol: plain, encrypted, and with the connection cut in the middle.

use super::cutter::Cutter;
use super::stage::{Protection, Stage};
use super::{Row, announce};
use crate::exit::Failure;
use crate::output;

/// Fetches the file straight from the server, as on a network that is trusted.
pub(super) async fn plain(stage: &Stage) -> Result<Row, Failure> {
    announce("Fetching it by the native protocol, without encryption");
    let downloaded = stage.fetch_native(stage.server, Protection::None).await?;
    let note = "every piece and the whole verified by BLAKE3".into();
    Ok(Row { what: "native, plain", elapsed: downloaded.elapsed, note })
}

/// Fetches the file encrypted, from the server that has the right key.
pub(super) async fn whole(stage: &Stage) -> Result<Row, Failure> {
    announce("The same with encryption");
    let downloaded = stage.fetch_native(stage.server, Protection::Tls).await?;
    let note = "TLS 1.3, the server known by its key; BLAKE3 verified".into();
    Ok(Row { what: "native", elapsed: downloaded.elapsed, note })
}

/// Fetches the file through something that cuts the first connection half-way. What had come is kept.
pub(super) async fn cut_in_the_middle(stage: &Stage) -> Result<Row, Failure> {
    announce("The same, with the connection cut in the middle");
    let cutter = Cutter::start(stage.server, stage.size / 2).await?;
    let downloaded = stage.fetch_native(cutter.address, Protection::Tls).await?;
    let twice = downloaded.tally.received_bytes.saturating_sub(stage.size);
    let note = format!("resumed; {} moved twice; BLAKE3 verified", output::size(twice));
    Ok(Row { what: "native, cut in the middle", elapsed: downloaded.elapsed, note })
}
