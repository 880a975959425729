//! Fetching one file by the native protocol: plan → worker → verify → staged → journal
//! (PROTOCOL.md, "The native protocol").

mod error;
mod kept;
mod session;
mod sync_ahead;
mod transfer;
mod worker;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use towline_proto::name::RemoteName;
use towline_proto::native::message::Info;
use towline_proto::piece::merge;
use towline_store::hashing::hash_file;
use towline_store::staged::{Durability, Existing, Leftovers, StageError, Staged};

pub use self::error::{DownloadError, Failure};
use self::kept::Kept;
use self::session::Session;
pub use self::session::SessionError;
use self::transfer::{Ending, Transfer};
use crate::connect::Address;
use crate::monitor::{Event, Monitor};
use crate::retry::Backoff;
use crate::trust::Trust;

/// How often a target that another transfer has is looked at.
const BUSY_POLL: Duration = Duration::from_millis(200);

/// How often a source that keeps changing is begun with again.
const CHANGES_MAX: u32 = 16;

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub address: Address,
    /// What the server must prove before anything is said to it, encrypted; `None` for networks that are trusted.
    pub encryption: Option<Trust>,
    /// The file, as the server names it.
    pub name: RemoteName,
    /// The folder that the result goes into; made if it is missing.
    pub folder: PathBuf,
    /// The result's name below `folder`.
    pub target: RemoteName,
    /// What happens while another transfer has the target.
    pub busy: Busy,
    /// What happens to a file that is there and differs.
    pub existing: Existing,
    /// How many connections there are.
    pub connections: Connections,
    /// Longest time without a sign of the server.
    pub silence_max: Duration,
    /// When a lost connection is tried again; begins anew with every piece that comes.
    pub backoff: Backoff,
    /// Whether success waits for the disk.
    pub durability: Durability,
    /// Cap on bytes per second over all connections.
    pub rate_bytes_per_s: Option<u64>,
    /// What the content must hash to.
    pub expected: Option<blake3::Hash>,
}

/// What to do while another transfer is writing the same target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Fail at once.
    Fail,
    /// Wait until it has ended.
    Wait,
}

/// How many connections a transfer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// As many as gain something, up to eight.
    Adaptive,
    /// This many, at least one.
    Exactly(u32),
}

/// A file that is here, whole and verified.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its BLAKE3.
    pub root: blake3::Hash,
    /// How the bytes came to be here.
    pub tally: Tally,
    /// Time from the first attempt to the published file, waits included.
    pub elapsed: Duration,
}

/// Where a file's bytes came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of content that came over the network.
    pub received_bytes: u64,
    /// Bytes that were here from before, and verified again.
    pub kept_bytes: u64,
    /// Bytes that were damaged on their way and fetched again.
    pub repaired_bytes: u64,
    /// Connections that were lost.
    pub lost_connections: u32,
    /// Whether the target was there already, with this very content.
    pub was_up_to_date: bool,
}

/// Fetches a file, resuming what is left of an earlier attempt. Dropping the future stops; what was received is
/// kept for the next attempt.
pub async fn download(
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Downloaded, DownloadError> {
    let began = Instant::now();
    let fetched = fetch(options, monitor).await;
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
    let mut kept = Kept::from_journal(staged)?;
    let mut tally = Tally::default();
    for _ in 0..CHANGES_MAX {
        let (session, info) = match begin(options, monitor, &mut kept).await? {
            Beginning::UpToDate(downloaded) => return Ok(Fetched::UpToDate(downloaded)),
            Beginning::Session(session, info) => (session, info),
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
                let path = staged.target().to_owned();
                let elapsed = Duration::ZERO;
                return Ok(Fetched::Whole(Downloaded { path, size, root, tally, elapsed }));
            }
            Ending::Changed(verified) => kept = Kept::of_another_version(verified),
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

/// What is found out before any content comes.
enum Beginning {
    /// The target has the very content.
    UpToDate(Downloaded),
    /// There is something to fetch, over this session.
    Session(Session, Info),
}

/// Connects and finds out what there is to do, trying again as long as the backoff lasts.
async fn begin(
    options: &Options,
    monitor: &dyn Monitor,
    kept: &mut Kept,
) -> Result<Beginning, Failure> {
    let mut waits = options.backoff.waits();
    let mut attempt = 0;
    loop {
        attempt += 1;
        monitor.on_event(&Event::Connecting { address: &options.address, attempt });
        let error = match look(options, monitor, kept).await {
            Err(Failure::Session { error, .. }) => error,
            looked => return looked,
        };
        let Some(wait) = waits.next().filter(|_| error.is_retryable()) else {
            return Err(Failure::Session { error, attempts: attempt });
        };
        monitor.on_event(&Event::Retrying { error: &error, attempt, wait, discarded_bytes: 0 });
        sleep(wait).await;
    }
}

async fn look(
    options: &Options,
    monitor: &dyn Monitor,
    kept: &mut Kept,
) -> Result<Beginning, Failure> {
    let Options { address, encryption, name, silence_max, .. } = options;
    let opened = Session::open(address, encryption.as_ref(), name, *silence_max).await;
    // Before anything else is done, so that whatever ends this run, the next one knows the server.
    if let Some(trust) = encryption
        && let Some(news) = trust.note().await.map_err(SessionError::from)?
    {
        monitor.on_event(&Event::Trusted { news: &news });
    }
    let (mut session, info) = opened?;
    if let Some(downloaded) = look_at_existing(options, &mut session, &info).await? {
        return Ok(Beginning::UpToDate(downloaded));
    }
    kept.sort_out(options, &mut session, &info).await?;
    Ok(Beginning::Session(session, info))
}

/// What is there already: nothing, the very content, or something that may not be replaced.
async fn look_at_existing(
    options: &Options,
    session: &mut Session,
    info: &Info,
) -> Result<Option<Downloaded>, Failure> {
    let path = options.folder.join(std::ffi::OsStr::from_bytes(options.target.as_bytes()));
    let size = info.geometry.file_bytes();
    match std::fs::symlink_metadata(&path) {
        Err(_) => return Ok(None),
        Ok(metadata) if !metadata.is_file() || metadata.len() != size => {
            return may_replace(options, path).map(|()| None);
        }
        Ok(_) => {}
    }
    let remote = remote_root(options, session, info).await?;
    let local = hash_local(path.clone()).await?;
    if local != remote {
        return may_replace(options, path).map(|()| None);
    }
    check_root(options, info, local)?;
    let tally = Tally { kept_bytes: size, was_up_to_date: true, ..Tally::default() };
    Ok(Some(Downloaded { path, size, root: local, tally, elapsed: Duration::ZERO }))
}

fn may_replace(options: &Options, path: PathBuf) -> Result<(), Failure> {
    match options.existing {
        Existing::Replace => Ok(()),
        Existing::Refuse => Err(StageError::TargetExists(path).into()),
    }
}

/// The BLAKE3 of the file on the server, from its pieces' hashes where it does not know the whole.
async fn remote_root(
    options: &Options,
    session: &mut Session,
    info: &Info,
) -> Result<blake3::Hash, Failure> {
    if let Some(root) = info.root {
        return Ok(root);
    }
    let (mut hashes, count) = (Vec::new(), info.geometry.count());
    session.hashes(&options.name, &info.version, count, |_, hash| hashes.push(hash)).await?;
    merge(info.geometry, &hashes).ok_or(Failure::Incomplete)
}

async fn hash_local(path: PathBuf) -> Result<blake3::Hash, Failure> {
    let hash = {
        let path = path.clone();
        move || Ok(hash_file(&std::fs::File::open(path)?, |_| ())?.blake3)
    };
    let hashed: io::Result<_> = spawn_blocking(hash).await.map_err(io::Error::from).flatten();
    hashed.map_err(|source| StageError::File { step: "read", path, source }.into())
}

fn check_root(options: &Options, info: &Info, root: blake3::Hash) -> Result<(), Failure> {
    for declared in [options.expected, info.root].into_iter().flatten() {
        if declared != root {
            return Err(Failure::Mismatch { declared, computed: root });
        }
    }
    Ok(())
}

/// Runs what waits for the disk where waiting is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StageError> + Send + 'static,
) -> Result<T, StageError> {
    spawn_blocking(work).await.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))
}
