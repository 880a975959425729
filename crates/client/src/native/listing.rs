//! Listing a folder on the server, page by page, whatever happens to the connection (PROTOCOL.md, "Trees").

use std::time::Duration;

use tokio::time::sleep;
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Depth, Entries, Entry, EntryKind, List, Rule};
use towline_proto::native::message::{Answer, Info, Request};
use towline_store::filter::Filter;

use super::retries::Retries;
use super::server::Server;
use super::session::{Frame, Session, SessionError};
use crate::monitor::{Event, Monitor};
use crate::retry::Backoff;

/// Entries that are asked for together. The next ones are asked for when these are used up, so that a server never
/// has to wait with them for a slow client.
const ENTRIES_AT_ONCE: u32 = 16_384;

/// What to list, and how.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// The server.
    pub server: Server,
    /// The folder; `None` for the served folder itself.
    pub folder: Option<RemoteName>,
    /// How deep it goes.
    pub depth: Depth,
    /// What belongs to it.
    pub rules: Vec<Rule>,
    /// When a lost connection is tried again; begins anew with every page that comes.
    pub backoff: Backoff,
}

/// A listing under way.
#[derive(Debug)]
pub struct Lister {
    options: ListOptions,
    session: Option<Session>,
    order: Order,
    filter: Filter,
    /// Whether the request at hand is answered whole.
    is_answered: bool,
    /// Whether any entry came in answer to it.
    has_entries: bool,
    has_ended: bool,
    /// Since the last page.
    retries: Retries,
    round_trip: Duration,
}

impl Lister {
    /// Nothing is asked for yet. Fails where the rules make no sense.
    pub fn new(options: ListOptions) -> Result<Self, SessionError> {
        let order = Order::new(options.depth);
        let filter = Filter::new(&options.rules)?;
        let retries = Retries::new(options.backoff);
        Ok(Self {
            options,
            session: None,
            order,
            filter,
            is_answered: true,
            has_entries: false,
            has_ended: false,
            retries,
            round_trip: Duration::ZERO,
        })
    }

    /// The next entries, in order; `None` after the last. Connects where there is no connection, and goes on after the
    /// last entry that came.
    pub async fn next(
        &mut self,
        monitor: &dyn Monitor,
    ) -> Result<Option<Vec<Entry>>, SessionError> {
        loop {
            if self.has_ended {
                return Ok(None);
            }
            let error = match self.receive(monitor).await {
                Ok(entries) if entries.is_empty() => continue,
                Ok(entries) => {
                    self.retries.renew();
                    return Ok(Some(entries));
                }
                Err(error) => error,
            };
            self.session = None;
            self.is_answered = true;
            let Some(wait) = self.retries.wait_after(&error) else { return Err(error) };
            let attempt = self.retries.failures();
            monitor.on_event(&Event::Retrying { error: &error, attempt, wait, discarded_bytes: 0 });
            sleep(wait).await;
        }
    }

    /// The time to the server and back; none as long as nothing has come, or where the system cannot tell.
    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// The entries of one frame; none where a request has ended.
    async fn receive(&mut self, monitor: &dyn Monitor) -> Result<Vec<Entry>, SessionError> {
        if self.is_answered {
            self.ask(monitor).await?;
            self.is_answered = false;
            self.has_entries = false;
        }
        let Some(session) = &mut self.session else { return Ok(Vec::new()) };
        match session.next().await? {
            Frame::Answer(Answer::Entries(Entries { entries, ended })) => {
                entries.iter().try_for_each(|entry| self.check(entry))?;
                if entries.is_empty() && !ended {
                    return Err(SessionError::OutOfPlace);
                }
                self.has_ended = ended;
                self.has_entries = true;
                Ok(entries)
            }
            // Asked again, it would be answered so again and again.
            Frame::Answer(Answer::Done) if !self.has_entries => Err(SessionError::OutOfPlace),
            Frame::Answer(Answer::Done) => {
                self.is_answered = true;
                Ok(Vec::new())
            }
            other => Err(other.into_error()),
        }
    }

    /// Believes what comes in order and belongs to the listing: that the server applies the rules is only its word.
    fn check(&mut self, entry: &Entry) -> Result<(), SessionError> {
        self.order.check(entry)?;
        let path = entry.path.as_bytes();
        let is_asked_for = match entry.kind {
            EntryKind::Folder => self.filter.admits_folder(path),
            _ => self.filter.admits_file(path),
        };
        if is_asked_for { Ok(()) } else { Err(SessionError::NotAskedFor(entry.path.clone())) }
    }

    async fn ask(&mut self, monitor: &dyn Monitor) -> Result<(), SessionError> {
        let ListOptions { server, folder, depth, rules, .. } = &self.options;
        let request = Request::List(List {
            folder: folder.clone(),
            after: self.order.last.clone(),
            depth: *depth,
            rules: rules.clone(),
            entries_max: ENTRIES_AT_ONCE,
        });
        if let Some(session) = &mut self.session {
            return session.ask(&request).await;
        }
        let attempt = self.retries.failures() + 1;
        monitor.on_event(&Event::Connecting { address: server.address(), attempt });
        let opened = server.ask(&request).await;
        server.tell_trust(monitor).await?;
        let session = opened?;
        self.round_trip = session.round_trip();
        self.session = Some(session);
        Ok(())
    }
}

/// What a file is, as an entry of a listing would tell it.
pub async fn look_up(server: &Server, file: &RemoteName) -> Result<Entry, SessionError> {
    let (session, Info { geometry, modified_ns, mode, .. }) = server.look_up(file).await?;
    server.give_back(session);
    let kind = EntryKind::File { size: geometry.file_bytes(), sparse: false };
    Ok(Entry { path: file.clone(), kind, modified_ns, mode, error: None })
}

/// The order in which entries must come. A server that keeps to it names nothing twice, and nothing below what is no
/// folder.
#[derive(Debug)]
struct Order {
    depth: Depth,
    last: Option<RemoteName>,
    /// The folder of the last entry, and those above it, as far as they were listed.
    open: Vec<RemoteName>,
}

impl Order {
    fn new(depth: Depth) -> Self {
        Self { depth, last: None, open: Vec::new() }
    }

    fn check(&mut self, entry: &Entry) -> Result<(), SessionError> {
        let path = &entry.path;
        if self.last.as_ref().is_some_and(|last| last.cmp_in_tree(path).is_ge()) {
            return Err(SessionError::OutOfOrder(path.clone()));
        }
        let parent = path.parent_bytes();
        while self.open.last().is_some_and(|open| Some(open.as_bytes()) != parent) {
            self.open.pop();
        }
        if self.open.last().map(RemoteName::as_bytes) != parent {
            return Err(SessionError::BelowNoFolder(path.clone()));
        }
        if entry.kind == EntryKind::Folder && self.depth == Depth::Tree {
            self.open.push(path.clone());
        }
        self.last = Some(path.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::name::RemoteName;
    use towline_proto::native::message::tree::{Depth, Entry, EntryKind};

    use super::super::session::SessionError;
    use super::Order;

    /// Entries whose paths end in `/` are folders, in `@` links.
    fn checked(depth: Depth, paths: &[&str]) -> Result<(), SessionError> {
        let mut order = Order::new(depth);
        paths.iter().try_for_each(|text| {
            let path = RemoteName::parse(text.trim_end_matches('/').as_bytes()).unwrap();
            let kind = match text.as_bytes().last() {
                Some(b'/') => EntryKind::Folder,
                Some(b'@') => EntryKind::Link { target: b".".to_vec() },
                _ => EntryKind::File { size: 0, sparse: false },
            };
            order.check(&Entry { path, kind, modified_ns: 0, mode: 0, error: None })
        })
    }

    #[test]
    fn a_listing_in_order_is_believed() {
        let all = ["a/", "a/b/", "a/b/c", "a/d", "a!/", "a!/x", "b", "c/", "d/", "d/e/", "d/e/f/"];
        checked(Depth::Tree, &all).unwrap();
        checked(Depth::Folder, &["a/", "b", "c/"]).unwrap();
    }

    #[test]
    fn what_comes_twice_or_out_of_order_is_not() {
        for paths in [&["a", "a"][..], &["b", "a"], &["a/", "a/c", "a/b"], &["a/", "b", "a/c"]] {
            let error = checked(Depth::Tree, paths).unwrap_err();
            assert!(matches!(error, SessionError::OutOfOrder(_)), "{paths:?}");
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn what_is_below_no_folder_is_not() {
        for paths in
            [&["a@", "a@/b"][..], &["a", "a/b"], &["a/b"], &["a/", "a/b/c"], &["a/", "b", "b/c"]]
        {
            let error = checked(Depth::Tree, paths).unwrap_err();
            assert!(matches!(error, SessionError::BelowNoFolder(_)), "{paths:?}");
            assert!(!error.is_retryable());
        }
        assert!(checked(Depth::Folder, &["a/", "a/b"]).is_err());
    }
}
