//! Before any content comes: what the file on the server is, whether it is here already, and what is left of an earlier
//! attempt.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use towline_proto::native::message::Info;
use towline_proto::piece::merge;
use towline_store::hashing::blake3_of;
use towline_store::staged::{AtTarget, Existing, StageError, Staged};

use super::downloaded::{Downloaded, Tally};
use super::error::Failure;
use super::kept::KeptPieces;
use super::options::Options;
use super::retries::Retries;
use super::server::IDLE_MAX;
use super::session::{Session, SessionError};
use crate::blocking::blocking;
use crate::monitor::{Event, Monitor};

/// How often a source that keeps changing is begun with again.
pub(super) const CHANGES_MAX: u32 = 16;

/// How long a source that has just been changed is left to whoever writes to it.
pub(super) const CHANGE_PAUSE: Duration = Duration::from_millis(200);

/// What is found out before any content comes.
pub(super) enum Beginning {
    /// The target has the very content.
    UpToDate(Downloaded),
    /// There is something to fetch, over this session.
    Session(Session, Info),
}

/// The size and the BLAKE3 of the file on the server, of which nothing comes.
pub(super) async fn size_and_root(
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
pub(super) async fn begin(
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

/// Fails where the content is not what was asked for, or what the server said it is.
pub(super) fn check_root(
    options: &Options,
    info: &Info,
    root: blake3::Hash,
) -> Result<(), Failure> {
    for declared in [options.expected, info.root].into_iter().flatten() {
        if declared != root {
            return Err(Failure::Mismatch { declared, computed: root });
        }
    }
    Ok(())
}
