//! The classic protocol: whole, and with the connection cut in the middle.

use super::cutter::Cutter;
use super::stage::Stage;
use super::{Row, announce};
use crate::exit::Failure;
use crate::output;

/// Fetches the file straight from the server.
pub(super) async fn whole(stage: &Stage) -> Result<Row, Failure> {
    announce("Fetching it by the classic protocol");
    let downloaded = stage.fetch_classic(stage.server).await?;
    Ok(Row { what: "classic", elapsed: downloaded.elapsed, note: "MD5 verified".into() })
}

/// Fetches the file through something that cuts the first connection half-way. The protocol cannot resume,
/// so that the file comes again from its first byte, by itself.
pub(super) async fn cut_in_the_middle(stage: &Stage) -> Result<Row, Failure> {
    announce("The same, with the connection cut in the middle");
    let cutter = Cutter::start(stage.server, stage.size / 2).await?;
    let downloaded = stage.fetch_classic(cutter.address).await?;
    let note = format!(
        "{} attempts, {} moved twice; MD5 verified",
        downloaded.attempts,
        output::size(stage.size / 2)
    );
    Ok(Row { what: "classic, cut in the middle", elapsed: downloaded.elapsed, note })
}
