//! Where log lines go: a file of this run's own, and for servers standard error as well.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Zoned;
use towline_proto::escape::EscapedPath;
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
const BUFFERED_LINES_MAX: usize = 16 * 1_024;

/// Bytes of a line at most; what is longer ends in an ellipsis. Names alone may take up eight times as much, and whoever
/// asks for one chooses it.
const LINE_BYTES_MAX: usize = 2 * 1_024;

/// Who may read a log file besides its owner: its group. It says who fetched what.
const MODE: u32 = 0o640;

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
    _workers: [Option<WorkerGuard>; 2],
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
    // Whoever reads standard error may be slow as well.
    let (stderr, stderr_worker) = in_background(output::Stderr);
    let subscriber = tracing_subscriber::registry().with(file).with(layer(stderr, console));
    // Fails only if one is set already; then the earlier one stays.
    let _ = subscriber.try_init();
    LogGuard { _workers: [worker, Some(stderr_worker)] }
}

fn layer<S>(writer: NonBlocking, least: LevelFilter) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_writer(move || Shortening(writer.clone()))
        .with_timer(LocalTime)
        .with_target(false)
        .with_ansi(false)
        // It would print on standard error that standard error is closed.
        .log_internal_errors(false)
        .with_filter(Targets::new().with_target("towline", least))
}

fn in_background(writer: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES_MAX).finish(writer)
}

/// Cuts lines short before they wait. Each comes whole.
struct Shortening<W>(W);

impl<W: io::Write> io::Write for Shortening<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() <= LINE_BYTES_MAX {
            self.0.write_all(line)?;
        } else {
            let begins_character = |place: &usize| line[*place] & 0xC0 != 0x80;
            let end = (0..=LINE_BYTES_MAX).rev().find(begins_character).unwrap_or(LINE_BYTES_MAX);
            self.0.write_all(&[&line[..end], "…\n".as_bytes()].concat())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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
#[error("cannot log in {}: {source}", EscapedPath(folder))]
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
        let path = folder.join(format!("{stem}{suffix}.log"));
        match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(failed),
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{LINE_BYTES_MAX, Shortening, create};

    #[test]
    fn a_line_is_cut_short_between_two_characters_whatever_is_told() {
        for before in ["", "a", "ab"] {
            for (character, times) in [("写", 10), ("写", LINE_BYTES_MAX), ("a", LINE_BYTES_MAX)]
            {
                let line = format!("{before}{}\n", character.repeat(times));
                let mut written = Vec::new();
                Shortening(&mut written).write_all(line.as_bytes()).unwrap();
                let written = String::from_utf8(written).unwrap();
                if line.len() <= LINE_BYTES_MAX {
                    assert_eq!(written, line);
                    continue;
                }
                let kept = written.strip_suffix("…\n").unwrap();
                assert!(line.starts_with(kept) && kept.len() <= LINE_BYTES_MAX);
                assert!(kept.len() > LINE_BYTES_MAX - 4);
            }
        }
    }

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
