//! Where log lines go: a file of this run's own, and for servers standard error as well.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Zoned;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output;

/// Lines that wait for the disk at most; more are dropped rather than let a transfer wait.
const BUFFERED_LINES_MAX: usize = 64 * 1_024;

/// Log files that begin in the same second at most.
const SAME_SECOND_MAX: u32 = 10_000;

/// What is logged, and where.
pub(crate) struct LogOptions<'a> {
    /// Folder and first word of the log file's name.
    pub(crate) file: Option<(&'a Path, &'a str)>,
    /// The least important lines that standard error gets.
    pub(crate) console: LevelFilter,
    /// 0 for what is worth knowing, more for details.
    pub(crate) verbose: u8,
}

/// Writes out what is buffered when it is dropped: keep it as long as anything logs.
pub(crate) struct LogGuard {
    _worker: Option<WorkerGuard>,
}

/// Begins logging. A folder that cannot be written is said, and does not stop the program.
pub(crate) fn start(options: &LogOptions<'_>) -> LogGuard {
    let (file, worker) = match options.file.map(|(folder, word)| create(folder, word)) {
        Some(Ok(file)) => Some(in_background(file)).unzip(),
        Some(Err(error)) => {
            output::error(format_args!("{error}; going on without a log"));
            (None, None)
        }
        None => (None, None),
    };
    let detail = match options.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let file = file.map(|file| layer(file, detail));
    let console = if options.verbose > 0 { options.console.max(detail) } else { options.console };
    let subscriber = tracing_subscriber::registry().with(file).with(layer(io::stderr, console));
    // Nobody has begun logging before; were it so, that logging goes on.
    let _ = subscriber.try_init();
    LogGuard { _worker: worker }
}

fn layer<S, W>(writer: W, least: LevelFilter) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_timer(LocalTime)
        .with_target(false)
        .with_ansi(false)
        // It would print on standard error that standard error is closed.
        .log_internal_errors(false)
        .with_filter(Targets::new().with_target("towline", least))
}

fn in_background(file: File) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES_MAX).finish(file)
}

/// `2026-03-29 14:05:06.789`, in local time.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f"))
    }
}

/// Why there is no log file.
#[derive(Debug, thiserror::Error)]
#[error("cannot log in {}: {source}", folder.display())]
struct LogError {
    folder: PathBuf,
    source: io::Error,
}

/// Creates `FOLDER/WORD_YYYYMMDD_HHMMSS.log`, or `…_2.log` and so on where several begin in one second.
fn create(folder: &Path, word: &str) -> Result<File, LogError> {
    let failed = |source| LogError { folder: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let stem = format!("{word}_{}", Zoned::now().strftime("%Y%m%d_%H%M%S"));
    for run in 1..=SAME_SECOND_MAX {
        let suffix = if run == 1 { String::new() } else { format!("_{run}") };
        match File::create_new(folder.join(format!("{stem}{suffix}.log"))) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(failed),
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::create;

    #[test]
    fn logs_that_begin_in_one_second_get_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            create(folder.path(), "client").unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = create(&file.path().join("logs"), "server").unwrap_err().to_string();
        assert!(error.contains("logs"), "{error}");
    }
}
