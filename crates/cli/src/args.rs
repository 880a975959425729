//! The flags that several commands share. Each command's own stand beside what they do, in `cmd`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, Args};
use towline_client::retry::Backoff;

use crate::{options, url};

/// What every client command prints, and where.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Log details; twice for everything
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print one JSON object per event on standard output instead
    #[arg(long)]
    pub(crate) json: bool,
}

impl OutputArgs {
    /// Whether people read the log itself, on standard error.
    pub(crate) fn is_logged(&self) -> bool {
        self.verbose > 0
    }
}

/// How long a client command bears with a server that does not answer.
#[derive(Args, Debug)]
pub(crate) struct PatienceArgs {
    /// How often to try again without any progress
    #[arg(long, value_name = "N", default_value_t = Backoff::default().retries)]
    retries: u32,
    /// Longest time without a sign of the server
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = options::timeout)]
    pub(crate) timeout: Duration,
}

impl PatienceArgs {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { retries: self.retries, ..Backoff::default() }
    }
}

/// Where a log is kept, for commands that keep none unless told.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogDirArgs {
    /// Keep a log in this folder
    #[arg(long, value_name = "DIR", env = "TOWLINE_LOG_DIR")]
    pub(crate) log_dir: Option<PathBuf>,
}

/// The clap error with any password in the repeated value masked.
pub(crate) fn without_secrets(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Some(shown) = url::without_password(value)
    {
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    error
}
