//! Fetching one file: plan → worker → verify → staged → journal.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use towline_proto::piece::merge;
use towline_store::staged::{Leftovers, StageError, Staged};

use super::beginning::{Beginning, CHANGE_PAUSE, CHANGES_MAX, begin, check_root};
use super::downloaded::{Downloaded, Tally};
use super::error::{DownloadError, Failure};
use super::kept::KeptPieces;
use super::options::{Busy, Options};
use super::transfer::{Ending, Transfer};
use super::waves::OncePerWave;
use crate::blocking::blocking;
use crate::monitor::{Event, Monitor};

/// How often a target that another transfer has is looked at.
pub(super) const BUSY_POLL: Duration = Duration::from_millis(200);

/// Fetches a file, resuming what is left of an earlier attempt. Dropping the future stops; what was received is
/// kept for the next attempt.
pub async fn download(
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Downloaded, DownloadError> {
    let began = Instant::now();
    let fetched = fetch(options, &OncePerWave::new(monitor)).await;
    let elapsed = began.elapsed();
    match fetched {
        Ok(downloaded) => Ok(Downloaded { elapsed, ..downloaded }),
        Err(failure) => Err(DownloadError::new(options, elapsed, failure)),
    }
}

async fn fetch(options: &Options, monitor: &dyn Monitor) -> Result<Downloaded, Failure> {
    let staged = stage(options).await?;
    match fetch_into(&staged, options, monitor).await {
        Ok(Fetched::UpToDate(downloaded)) => {
            let durability = options.durability;
            blocking(move || staged.give_way_to_existing(durability)).await?;
            Ok(downloaded)
        }
        Ok(Fetched::Whole(downloaded)) => {
            let path = publish(staged, options).await?;
            monitor.on_event(&Event::Published { path: &path });
            Ok(Downloaded { path, ..downloaded })
        }
        Err(failure) => {
            if staged.is_empty() {
                // Nothing has come that another attempt could go on from.
                staged.discard();
            }
            Err(failure)
        }
    }
}

/// What is here now.
enum Fetched {
    /// The target has the very content.
    UpToDate(Downloaded),
    /// The unfinished file has all of it.
    Whole(Downloaded),
}

async fn fetch_into(
    staged: &Staged,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Fetched, Failure> {
    let mut kept = KeptPieces::from_journal(staged)?;
    let mut tally = Tally::default();
    for _ in 0..CHANGES_MAX {
        let (session, info) = match begin(staged, options, monitor, &mut kept).await {
            Ok(Beginning::UpToDate(downloaded)) => return Ok(Fetched::UpToDate(downloaded)),
            Ok(Beginning::Session(session, info)) => (session, info),
            // It changed while it was looked at; what was kept is still there, and in the journal.
            Err(failure) if failure.is_changed() => {
                sleep(CHANGE_PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        // What an earlier attempt left has its room already.
        staged.check_room(info.stored_bytes.saturating_sub(staged.stored_bytes()))?;
        let size = info.geometry.file_bytes();
        monitor.on_event(&Event::Started { size, md5: None });
        let (journal, candidates) = kept.into_journal(staged, &info)?;
        let transfer =
            Transfer::new(options, &info, staged, journal, candidates, monitor, &mut tally)?;
        match transfer.run(session).await? {
            Ending::Complete(hashes) => {
                let root = merge(info.geometry, &hashes).ok_or(Failure::Incomplete)?;
                check_root(options, &info, root)?;
                if let Some(attributes) = options.keep.attributes(info.modified_ns, info.mode) {
                    staged.set_attributes(attributes)?;
                }
                let path = staged.target().to_owned();
                let elapsed = Duration::ZERO;
                return Ok(Fetched::Whole(Downloaded { path, size, root, tally, elapsed }));
            }
            Ending::Changed(verified) => kept = KeptPieces::of_another_version(verified),
        }
    }
    Err(Failure::KeepsChanging)
}

async fn stage(options: &Options) -> Result<Staged, StageError> {
    loop {
        let (folder, target) = (options.folder.clone(), options.target.clone());
        let create = move || Staged::create(&folder, &target, Leftovers::Keep);
        match blocking(create).await {
            // A lock that dies with its owner has nobody to tell that it is free.
            Err(StageError::Busy(_)) if options.busy == Busy::Wait => sleep(BUSY_POLL).await,
            result => return result,
        }
    }
}

async fn publish(staged: Staged, options: &Options) -> Result<PathBuf, StageError> {
    let (existing, durability) = (options.existing, options.durability);
    blocking(move || staged.publish(existing, durability)).await
}
