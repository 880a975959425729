//! What is written down for operators: each request in the access log, each decision about trust in the audit record.
//! Writing never holds up who is served: see `writer`.

mod event;
mod line;
mod request;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub use self::event::{Event, ProofKind};
pub use self::line::Format;
use self::line::Line;
pub(crate) use self::request::{Asked, Outcome, RequestRecord, face_name};
use self::writer::LogFile;

/// Where to write what down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordsConfig {
    /// The access log; `None` for none.
    pub access: Option<PathBuf>,
    /// The audit record; `None` for none.
    pub audit: Option<PathBuf>,
    /// How lines are written, in both.
    pub format: Format,
}

/// Both logs, as far as there are any.
#[derive(Debug)]
pub(crate) struct Records {
    access: Option<LogFile>,
    audit: Option<LogFile>,
}

impl Records {
    /// Goes on with what is there already.
    pub(crate) fn open(places: &RecordsConfig) -> io::Result<Self> {
        let open =
            |path: Option<&Path>| path.map(|path| LogFile::open(path, places.format)).transpose();
        Ok(Self { access: open(places.access.as_deref())?, audit: open(places.audit.as_deref())? })
    }

    /// Notes a request that is over.
    pub(crate) fn note_request(&self, record: &RequestRecord<'_>) {
        if let Some(access) = &self.access {
            access.write(&Line::request(record));
        }
    }

    /// Notes a decision.
    pub(crate) fn note(&self, event: &Event<'_>) {
        if let Some(audit) = &self.audit {
            audit.write(&Line::event(event));
        }
    }

    /// Goes on in the files that have the paths now: others may have been moved away.
    pub(crate) fn reopen(&self) {
        [&self.access, &self.audit].into_iter().flatten().for_each(LogFile::reopen);
    }

    /// Waits until all is written that was noted before. Blocks.
    pub(crate) fn flush(&self) {
        [&self.access, &self.audit].into_iter().flatten().for_each(LogFile::flush);
    }

    /// Lines that are missing, of each log.
    pub(crate) fn dropped(&self) -> [(&'static str, u64); 2] {
        let dropped = |log: &Option<LogFile>| log.as_ref().map_or(0, LogFile::dropped);
        [("access", dropped(&self.access)), ("audit", dropped(&self.audit))]
    }
}
