//! Fetching one file by the classic protocol (PROTOCOL.md, "The classic protocol").
//!
//! The protocol cannot resume: an attempt that fails is thrown away, and the next begins the file again.

mod attempt;
mod error;
mod receive;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use towline_proto::classic::Request;
use towline_store::staged::{Base, Durability, Existing, Leftovers, Staged};

pub use self::error::{AttemptError, Phase};
use crate::blocking::blocking;
use crate::connect::Address;
use crate::monitor::{Event, Monitor};
use crate::retry::Backoff;

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub address: Address,
    /// The file; it is received at `folder`/its name.
    pub request: Request,
    /// The folder that the file goes into; made if it is missing.
    pub folder: PathBuf,
    /// Longest time for connecting, and without a byte from the server afterwards.
    pub silence_max: Duration,
    /// When to try again.
    pub backoff: Backoff,
    /// Bytes received, hashed and written at once.
    pub chunk_bytes: usize,
    /// Whether success waits for the disk.
    pub durability: Durability,
}

/// A file that was fetched, verified and published.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Attempts that it took.
    pub attempts: u32,
    /// Time from the first attempt to the published file, waits included.
    pub elapsed: Duration,
}

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} was not fetched from {address}: {source}{}",
    request.name(),
    tries(*attempts, *elapsed)
)]
pub struct DownloadError {
    /// What was asked for.
    pub request: Request,
    /// The server.
    pub address: Address,
    /// How many attempts were made.
    pub attempts: u32,
    /// Time from the first attempt to giving up.
    pub elapsed: Duration,
    /// What went wrong with the last one.
    pub source: AttemptError,
}

fn tries(attempts: u32, elapsed: Duration) -> String {
    match attempts {
        0 | 1 => String::new(),
        _ => format!(" (tried {attempts} times in {:.0} s)", elapsed.as_secs_f64()),
    }
}

/// Fetches a file, trying again as often as `options` say. Dropping the future gives up and removes what was
/// received.
pub async fn download(
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Downloaded, DownloadError> {
    let began = Instant::now();
    let mut attempts = 0;
    let result = try_again_and_again(options, monitor, &mut attempts).await;
    let elapsed = began.elapsed();
    match result {
        Ok((path, size)) => Ok(Downloaded { path, size, attempts, elapsed }),
        Err(source) => Err(DownloadError {
            request: options.request.clone(),
            address: options.address.clone(),
            attempts,
            elapsed,
            source,
        }),
    }
}

async fn try_again_and_again(
    options: &Options,
    monitor: &dyn Monitor,
    attempts: &mut u32,
) -> Result<(PathBuf, u64), AttemptError> {
    // Before anything is asked of the network: a target that cannot be written is told at once.
    let staged = stage(options).await?;
    let mut waits = options.backoff.waits();
    let size = loop {
        *attempts += 1;
        monitor.on_event(&Event::Connecting { address: &options.address, attempt: *attempts });
        let mut received_bytes = 0;
        let attempt = attempt::attempt(options, &staged, monitor, &mut received_bytes).await;
        let error = match attempt {
            Ok(size) => break size,
            Err(error) => error,
        };
        let Some(wait) = waits.next().filter(|_| error.is_retryable()) else {
            return Err(error);
        };
        monitor.on_event(&Event::Retrying {
            error: &error,
            attempt: *attempts,
            wait,
            discarded_bytes: received_bytes,
        });
        tokio::time::sleep(wait).await;
        staged.restart()?;
    };
    let path = publish(staged, options.durability).await?;
    monitor.on_event(&Event::Published { path: &path });
    Ok((path, size))
}

async fn stage(options: &Options) -> Result<Staged, AttemptError> {
    let (folder, name) = (Base::from(options.folder.clone()), options.request.name().clone());
    Ok(blocking(move || Staged::create(&folder, &name, Leftovers::Discard)).await?)
}

async fn publish(staged: Staged, durability: Durability) -> Result<PathBuf, AttemptError> {
    Ok(blocking(move || staged.publish(Existing::Replace, durability)).await?)
}
