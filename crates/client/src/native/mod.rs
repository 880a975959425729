//! Fetching one file by the native protocol: plan → worker → verify → staged → journal
//! (PROTOCOL.md, "The native protocol").

mod error;
mod growth;
mod kept;
mod last_heard;
pub mod listing;
mod login;
mod other_service;
mod retries;
mod seats;
mod server;
mod session;
mod sync_ahead;
mod transfer;
pub mod tree;
mod waves;
mod worker;

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use towline_proto::name::RemoteName;
use towline_proto::native::message::Info;
use towline_proto::piece::merge;
use towline_store::hashing::blake3_of;
use towline_store::staged::{AtTarget, Base, Durability, Existing, Leftovers, StageError, Staged};
use towline_store::tree::{Attributes, Mode};

pub use self::error::{DownloadError, Failure};
use self::growth::worth_at_once;
use self::kept::KeptPieces;
pub use self::login::{log_in, may_log_in};
pub use self::other_service::OtherService;
use self::retries::Retries;
pub use self::seats::Seats;
use self::server::IDLE_MAX;
pub use self::server::Server;
use self::session::Session;
pub use self::session::SessionError;
use self::transfer::{Ending, Transfer};
use self::waves::OncePerWave;
use crate::blocking::blocking;
use crate::monitor::{Event, Monitor};
use crate::retry::Backoff;
use crate::throttle::SharedThrottle;

/// How often a target that another transfer has is looked at.
const BUSY_POLL: Duration = Duration::from_millis(200);

/// How often a source that keeps changing is begun with again.
const CHANGES_MAX: u32 = 16;

/// How long a source that has just been changed is left to whoever writes to it.
const CHANGE_PAUSE: Duration = Duration::from_millis(200);

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub server: Server,
    /// The file, as the server names it.
    pub name: RemoteName,
    /// The folder that the result goes into.
    pub folder: Base,
    /// The result's name below `folder`.
    pub target: RemoteName,
    /// What happens while another transfer has the target.
    pub busy: Busy,
    /// What happens to a file that is there and differs.
    pub existing: Existing,
    /// How many connections there are.
    pub connections: Connections,
    /// When a lost connection is tried again; begins anew with every piece that comes.
    pub backoff: Backoff,
    /// Whether success waits for the disk.
    pub durability: Durability,
    /// Cap on bytes per second over all connections, and over all transfers that share it.
    pub limit: SharedThrottle,
    /// What the content must hash to.
    pub expected: Option<blake3::Hash>,
    /// Which attributes of the file on the server are kept beside its content.
    pub keep: Keep,
}

/// What is kept of a file beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: it is new here.
    Nothing,
    /// The modification time.
    Time,
    /// The modification time and the permissions.
    TimeAndMode,
}

impl Keep {
    /// The attributes to set.
    fn attributes(self, modified_ns: i64, mode: u32) -> Option<Attributes> {
        let mode = match self {
            Self::Nothing => return None,
            Self::Time => Mode::Default,
            Self::TimeAndMode => Mode::Keep(mode),
        };
        Some(Attributes { modified_ns, mode })
    }
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
#[derive(Clone, Debug)]
pub enum Connections {
    /// As many as gain something, up to eight.
    Adaptive,
    /// This many, at least one.
    Exactly(u32),
    /// So many, whose seats are taken, and those that nobody else needs.
    Sharing(u32, Seats),
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

/// What is found out before any content comes.
enum Beginning {
    /// The target has the very content.
    UpToDate(Downloaded),
    /// There is something to fetch, over this session.
    Session(Session, Info),
}

/// The size and the BLAKE3 of the file on the server, of which nothing comes.
async fn look_only(
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<(u64, blake3::Hash), Failure> {
    let look = async || {
        let (mut session, info) = open(options, monitor).await?;
        let root = remote_root(options, &mut session, &info).await?;
        options.server.give_back(session);
        Ok((info.geometry.file_bytes(), root))
    };
    for _ in 0..CHANGES_MAX {
        match retrying(options, monitor, look).await {
            Err(failure) if failure.is_changed() => sleep(CHANGE_PAUSE).await,
            ended => return ended,
        }
    }
    Err(Failure::KeepsChanging)
}

/// Connects and finds out what there is to do.
async fn begin(
    staged: &Staged,
    options: &Options,
    monitor: &dyn Monitor,
    kept: &mut KeptPieces,
) -> Result<Beginning, Failure> {
    retrying(options, monitor, async || look(staged, options, monitor, kept).await).await
}

/// Tries again what needs a session, as long as the backoff lasts.
async fn retrying<T>(
    options: &Options,
    monitor: &dyn Monitor,
    mut try_once: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut retries = Retries::new(options.backoff);
    loop {
        let attempt = retries.failures() + 1;
        monitor.on_event(&Event::Connecting { address: options.server.address(), attempt });
        let error = match try_once().await {
            // The network is not to blame, and waiting ever longer for it is of no use.
            Err(Failure::Session { error, .. }) if !error.is_changed() => error,
            ended => return ended,
        };
        let Some(wait) = retries.wait_after(&error) else {
            return Err(Failure::Session { error, attempts: attempt });
        };
        monitor.on_event(&Event::Retrying { error: &error, attempt, wait, discarded_bytes: 0 });
        sleep(wait).await;
    }
}

async fn look(
    staged: &Staged,
    options: &Options,
    monitor: &dyn Monitor,
    kept: &mut KeptPieces,
) -> Result<Beginning, Failure> {
    let (mut session, mut info) = open(options, monitor).await?;
    let opened = Instant::now();
    if let Some(downloaded) = look_at_existing(staged, options, &mut session, &info).await? {
        options.server.give_back(session);
        return Ok(Beginning::UpToDate(downloaded));
    }
    if opened.elapsed() >= IDLE_MAX {
        // To read what is here took so long that the server may have closed it.
        (session, info) = open(options, monitor).await?;
    }
    kept.sort_out(options, &mut session, &info).await?;
    Ok(Beginning::Session(session, info))
}

/// Connects, and asks what the file is.
async fn open(options: &Options, monitor: &dyn Monitor) -> Result<(Session, Info), SessionError> {
    let opened = options.server.look_up_in_turn(&options.name).await;
    options.server.tell_trust(monitor).await?;
    opened
}

/// What is there already: nothing, the very content, or something that may not be replaced.
async fn look_at_existing(
    staged: &Staged,
    options: &Options,
    session: &mut Session,
    info: &Info,
) -> Result<Option<Downloaded>, Failure> {
    let (path, size) = (staged.target().to_owned(), info.geometry.file_bytes());
    let file = match staged.at_target()? {
        AtTarget::Nothing => return Ok(None),
        AtTarget::File(file) if file.metadata().is_ok_and(|here| here.len() == size) => file,
        AtTarget::File(_) | AtTarget::Other => return may_replace(options, path).map(|()| None),
    };
    let remote = remote_root(options, session, info).await?;
    let local = hash_local(file, path.clone()).await?;
    if local != remote {
        return may_replace(options, path).map(|()| None);
    }
    check_root(options, info, local)?;
    if options.existing == Existing::Replace
        && let Some(attributes) = options.keep.attributes(info.modified_ns, info.mode)
    {
        staged.set_existing_attributes(attributes)?;
    }
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

async fn hash_local(file: File, path: PathBuf) -> Result<blake3::Hash, Failure> {
    let hashed = blocking(move || blake3_of(&file)).await;
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
