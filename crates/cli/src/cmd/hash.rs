//! `towline hash PATH...`: BLAKE3 and MD5 of files and folders.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::thread::{available_parallelism, scope};

use anyhow::anyhow;
use indicatif::ProgressBar;
use rustix::fs::{Mode, OFlags};
use serde_json::json;
use towline_proto::escape::EscapedPath;
use towline_store::hashing::{FileHashes, hash_file};
use walkdir::WalkDir;

use crate::exit::{Exit, Failure};
use crate::output::{self, JsonLine};
use crate::progress;

/// Prints the BLAKE3 and MD5 of files; of folders, of every file in them.
///
/// Symbolic links and special files inside folders are left out.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print one JSON object per file: path, size, blake3, md5
    #[arg(long)]
    json: bool,
    /// No bar
    #[arg(short, long)]
    quiet: bool,
}

/// A file to be hashed, with its size as far as it is known.
struct Job {
    path: PathBuf,
    size: u64,
}

/// What became of one path.
type Outcome = Result<FileHashes, io::Error>;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut failures = Failures::default();
    let jobs = list(&args.paths, &mut failures);
    let bar = bar(args, jobs.iter().map(|job| job.size).sum());
    let printed = hash_in_order(jobs, &bar, |path, outcome| match outcome {
        Ok(hashes) => {
            failures.some_succeeded = true;
            bar.suspend(|| output::line(describe(path, &hashes, args.json)))
        }
        Err(error) => {
            bar.suspend(|| failures.note(path, &error));
            Ok(())
        }
    });
    bar.finish_and_clear();
    match printed {
        // Whoever read the output has seen enough.
        Err(_) => Ok(()),
        Ok(()) => failures.into_result(),
    }
}

/// Every file in the order of the arguments; folders in the order of their entries' names.
fn list(paths: &[PathBuf], failures: &mut Failures) -> Vec<Job> {
    let mut jobs = Vec::new();
    for path in paths {
        for entry in WalkDir::new(path).sort_by_file_name() {
            match entry {
                // A named path is hashed whatever it is; in folders, only regular files are.
                Ok(entry) if entry.file_type().is_file() || is_named_link(&entry) => {
                    let size = entry.metadata().map_or(0, |metadata| metadata.len());
                    jobs.push(Job { path: entry.into_path(), size });
                }
                Ok(entry) if entry.depth() == 0 && !entry.file_type().is_dir() => {
                    failures.note(entry.path(), &io::Error::other("not a regular file"));
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(path).to_owned();
                    let error = error.into_io_error().unwrap_or(io::ErrorKind::Other.into());
                    failures.note(&path, &error);
                }
            }
        }
    }
    jobs
}

fn is_named_link(entry: &walkdir::DirEntry) -> bool {
    entry.depth() == 0 && entry.path_is_symlink() && entry.path().is_file()
}

fn bar(args: &Args, total_bytes: u64) -> ProgressBar {
    if args.quiet || args.json {
        return ProgressBar::hidden();
    }
    progress::hashing_bar(total_bytes)
}

/// Hashes on every core, and hands the outcomes on in the order of the jobs.
fn hash_in_order(
    jobs: Vec<Job>,
    bar: &ProgressBar,
    mut on_outcome: impl FnMut(&Path, Outcome) -> io::Result<()>,
) -> io::Result<()> {
    let workers = available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(jobs.into_iter().map(|job| {
        let (sender, outcome) = sync_channel(1);
        (job.path, sender, outcome)
    }));
    // How far hashing may be ahead of printing.
    let (ahead, in_order) = sync_channel(workers);
    scope(|scope| {
        for _ in 0..workers {
            let (queue, ahead) = (&queue, ahead.clone());
            scope.spawn(move || {
                loop {
                    // Taking a job and announcing its outcome are one step, which keeps the order.
                    let mut jobs = queue.lock().expect("no worker panics while it holds the queue");
                    let Some((path, sender, outcome)) = jobs.next() else {
                        return;
                    };
                    if ahead.send((path.clone(), outcome)).is_err() {
                        return;
                    }
                    drop(jobs);
                    let _ = sender.send(hash(&path, bar));
                }
            });
        }
        drop(ahead);
        in_order.into_iter().try_for_each(|(path, outcome)| match outcome.recv() {
            Ok(outcome) => on_outcome(&path, outcome),
            Err(_) => on_outcome(&path, Err(io::Error::other("hashing it failed"))),
        })
    })
}

/// Opens without blocking on what is no file, and hashes.
fn hash(path: &Path, bar: &ProgressBar) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    hash_file(&file, |bytes| bar.inc(bytes))
}

fn describe(path: &Path, hashes: &FileHashes, as_json: bool) -> String {
    let FileHashes { blake3, md5, bytes } = hashes;
    let shown = EscapedPath(path);
    if !as_json {
        return format!("blake3:{blake3}  md5:{md5}  {shown}");
    }
    let (blake3, md5) = (blake3.to_string(), md5.to_string());
    let object = if let Some(path) = path.to_str() {
        json!({"path": path, "size": bytes, "blake3": blake3, "md5": md5})
    } else {
        // JSON has no place for bytes that are not UTF-8.
        let shown = shown.to_string();
        json!({"escaped_path": shown, "size": bytes, "blake3": blake3, "md5": md5})
    };
    JsonLine(object).to_string()
}

/// The paths that could not be hashed.
#[derive(Default)]
struct Failures {
    count: usize,
    first: Option<io::ErrorKind>,
    some_succeeded: bool,
}

impl Failures {
    fn note(&mut self, path: &Path, error: &io::Error) {
        self.count += 1;
        self.first.get_or_insert(error.kind());
        output::error(format_args!("{}: {error}", EscapedPath(path)));
    }

    fn into_result(self) -> Result<(), Failure> {
        let exit = match (self.count, self.first) {
            (0, _) => return Ok(()),
            (1, Some(io::ErrorKind::NotFound)) if !self.some_succeeded => Exit::NotFound,
            (1, _) if !self.some_succeeded => Exit::LocalDisk,
            _ => Exit::Partial,
        };
        Err(Failure::new(exit, anyhow!("{} could not be hashed", self.count)))
    }
}
