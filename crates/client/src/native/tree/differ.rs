//! Comparing a listing with what is here: decides what must come, and makes folders and links. Runs in a thread of
//! its own, since it asks the file system about every entry.

use std::sync::Arc;

use tokio::sync::mpsc;
use towline_proto::escape::Escaped;
use towline_proto::limits::DATA_BYTES_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::message::tree::{Content, Entry, EntryKind, Page};
use towline_store::staged::{Existing, StageError};
use towline_store::tree::{Attributes, FolderChain, Here, PutError, StagedTree, TreeWriter};

use super::later::Folders;
use super::namesakes::Namesakes;
use super::options::{Compare, LinkPolicy, Run};
use super::report::Report;
use super::site::Site;
use super::tally::TreeTally;
use super::wanted::{Batch, Wanted};
use super::writing::{attributes, check_disk};
use crate::native::Keep;

/// Small files are asked for together up to so many bytes of content, so that all connections have their share.
const BATCH_BYTES_MAX: u64 = 4 << 20;

/// How entries are compared and made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) existing: Existing,
    pub(super) compare: Compare,
    pub(super) links: LinkPolicy,
    pub(super) keep: Keep,
    pub(super) run: Run,
}

/// Compares entries in the order of the listing.
pub(super) struct Differ {
    policy: Policy,
    /// What is built; nothing in a dry run.
    building: Option<(Arc<StagedTree>, TreeWriter)>,
    /// What is here; nothing where the tree is new.
    here: Option<FolderChain>,
    /// Where some names are taken for the same here.
    namesakes: Option<Namesakes>,
    folders: Folders,
    /// What is no folder here, and should be: nothing below it can be made.
    blocked: Option<RemoteName>,
    /// Files that must come, and files to be compared.
    wanted: Gathered,
    compared: Gathered,
    delta: TreeTally,
    out: Out,
}

/// Where the differ's findings go.
pub(super) struct Out {
    pub(super) small: async_channel::Sender<Batch>,
    pub(super) large: mpsc::Sender<Wanted>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// Files of a batch that is not full.
#[derive(Default)]
struct Gathered {
    files: Vec<Wanted>,
    page: Page,
    bytes: u64,
}

impl Gathered {
    /// Adds a file; gives the batch once it is full.
    fn add(&mut self, wanted: Wanted) -> Vec<Wanted> {
        // Small files alone are gathered.
        self.bytes += wanted.size;
        let is_full = self.page.add(wanted.path.as_bytes().len());
        self.files.push(wanted);
        if is_full || self.bytes >= BATCH_BYTES_MAX { self.take() } else { Vec::new() }
    }

    fn take(&mut self) -> Vec<Wanted> {
        std::mem::take(self).files
    }
}

/// Why the differ stops before the end.
pub(super) enum Stop {
    /// Nothing can be stored here.
    Stage(StageError),
    /// Whoever leads the transfer is gone.
    Abandoned,
}

impl From<StageError> for Stop {
    fn from(error: StageError) -> Self {
        Self::Stage(error)
    }
}

impl Differ {
    pub(super) fn new(policy: Policy, site: &Site, folders: Folders, out: Out) -> Self {
        let began_ns = site.tree().and_then(|tree| tree.began_among_namesakes_ns());
        let namesakes = began_ns.map(Namesakes::new);
        let building = site.tree().map(|tree| (Arc::clone(tree), tree.writer()));
        let (wanted, compared) = (Gathered::default(), Gathered::default());
        let delta = TreeTally::default();
        Self {
            policy,
            building,
            here: site.here(),
            namesakes,
            folders,
            blocked: None,
            wanted,
            compared,
            delta,
            out,
        }
    }

    /// Compares until no more entries come; gives back the folders of the tree.
    pub(super) fn run(mut self, mut pages: mpsc::Receiver<Vec<Entry>>) -> Result<Folders, Stop> {
        while let Some(entries) = pages.blocking_recv() {
            for entry in entries {
                self.look_at(entry)?;
            }
            let (wanted, compared) = (self.wanted.take(), self.compared.take());
            self.send(wanted, Content::Bytes)?;
            self.send(compared, Content::HashOnly)?;
            let delta = std::mem::take(&mut self.delta);
            self.report(Report::Counted(delta))?;
        }
        self.report(Report::FoundAll)?;
        if let Some((tree, _)) = &self.building {
            tree.remove_earlier();
        }
        Ok(self.folders)
    }

    fn look_at(&mut self, entry: Entry) -> Result<(), Stop> {
        if self.is_blocked(&entry.path) {
            return Ok(());
        }
        if let Some(error) = entry.error {
            let reason = format!("the server cannot read it: {}", Escaped(error.text.as_bytes()));
            self.fail(entry.path.clone(), reason)?;
            if entry.kind != EntryKind::Folder {
                return Ok(());
            }
        }
        let attributes = attributes(self.policy.keep, entry.modified_ns, entry.mode);
        match entry.kind {
            EntryKind::Folder => self.look_at_folder(entry.path, attributes),
            EntryKind::File { size, sparse } => {
                self.look_at_file(entry.path, size, sparse, attributes)
            }
            EntryKind::Link { target } => self.look_at_link(entry.path, &target),
            EntryKind::Other => {
                self.delta.skipped_others += 1;
                Ok(())
            }
        }
    }

    /// Whether the path is below something that should be a folder and is none.
    fn is_blocked(&mut self, path: &RemoteName) -> bool {
        let is_below = |blocked: &RemoteName| {
            let rest = path.as_bytes().strip_prefix(blocked.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"/"))
        };
        self.blocked.as_ref().is_some_and(is_below)
    }

    /// What has the name here; `None` where that cannot be told or used, which is told then.
    fn look(&mut self, path: &RemoteName) -> Result<Option<Here>, Stop> {
        let Some(here) = &mut self.here else { return Ok(Some(Here::Nothing)) };
        let error = match here.look_closely(path) {
            Ok((here, found)) => {
                let namesakes = self.namesakes.as_mut().zip(found);
                let is_of_another =
                    namesakes.is_some_and(|(all, found)| all.is_of_another(path, found));
                if !is_of_another {
                    return Ok(Some(here));
                }
                PutError::TAKEN_FOR_THE_SAME
            }
            Err(error) => error,
        };
        self.put_failed(path.clone(), error).map(|()| None)
    }

    fn look_at_folder(&mut self, path: RemoteName, attributes: Attributes) -> Result<(), Stop> {
        let is_ours = match self.look(&path)? {
            Some(Here::Folder) => self.has_made(&path),
            None => {
                self.blocked = Some(path);
                return Ok(());
            }
            Some(Here::Nothing) => match self.make_folder(&path) {
                Ok(is_new) => is_new,
                Err(error) => {
                    self.blocked = Some(path.clone());
                    return self.put_failed(path, error);
                }
            },
            _ => {
                self.blocked = Some(path.clone());
                let reason = "something that is no folder is here; nothing below it was fetched";
                return self.fail(path, reason.into());
            }
        };
        self.delta.folders += 1;
        // What was here before keeps its time and permissions as a file would.
        let may_be_set = is_ours || self.policy.existing == Existing::Replace;
        if may_be_set && self.building.is_some() {
            self.folders.add(&path, attributes).map_err(|source| StageError::File {
                step: "note",
                path: "folders".into(),
                source,
            })?;
        }
        Ok(())
    }

    /// Whether an earlier attempt has made the folder, and ended before it had all that belongs in it.
    fn has_made(&self, path: &RemoteName) -> bool {
        self.building.as_ref().is_some_and(|(tree, _)| tree.noted().has_folder(path))
    }

    /// Makes a folder, or finds that there is one by now; tells whether it is new.
    fn make_folder(&mut self, path: &RemoteName) -> Result<bool, PutError> {
        match (&mut self.here, &mut self.building) {
            (Some(here), Some((tree, _))) => tree.make_folder(here, path),
            (None, Some((_, writer))) => writer.make_folder(path).map(|()| true),
            (_, None) => Ok(false),
        }
    }

    fn look_at_file(
        &mut self,
        path: RemoteName,
        size: u64,
        sparse: bool,
        attributes: Attributes,
    ) -> Result<(), Stop> {
        let Some(here) = self.look(&path)? else { return Ok(()) };
        let is_small = size <= DATA_BYTES_MAX as u64 && !sparse;
        let existing = self.existing_where(&here);
        let wanted = Wanted { path: path.clone(), size, existing, attempts: 0 };
        if self.policy.compare == Compare::Content && here.is_file_of(size) {
            if !is_small {
                return self.out.large.blocking_send(wanted).map_err(|_| Stop::Abandoned);
            }
            let full = self.compared.add(wanted);
            return self.send(full, Content::HashOnly);
        }
        if here.is_same_file(size, attributes) {
            self.delta += TreeTally { same_files: 1, same_bytes: size, ..TreeTally::default() };
            return Ok(());
        }
        if !self.may_take_the_place_of(&here, &path)? {
            return Ok(());
        }
        if self.take_over(&wanted, attributes)? {
            return Ok(());
        }
        self.delta += TreeTally { found_files: 1, found_bytes: size, ..TreeTally::default() };
        if self.policy.run == Run::Dry {
            return self.report(Report::WouldFetch { path, size });
        }
        if !is_small {
            return self.out.large.blocking_send(wanted).map_err(|_| Stop::Abandoned);
        }
        let full = self.wanted.add(wanted);
        self.send(full, Content::Bytes)
    }

    /// Takes over what an earlier attempt has brought, where that is the whole file.
    fn take_over(&mut self, wanted: &Wanted, attributes: Attributes) -> Result<bool, Stop> {
        let Wanted { path, size, existing, .. } = wanted;
        let Some((tree, writer)) = &mut self.building else { return Ok(false) };
        if !writer.has_earlier() {
            return Ok(false);
        }
        if !writer.take_over(path, *size, attributes, tree.noted()) {
            writer.take_over_unfinished(path);
            return Ok(false);
        }
        self.delta += TreeTally { kept_files: 1, kept_bytes: *size, ..TreeTally::default() };
        let placed = tree.place([(path.clone(), *existing)].into_iter(), *size)?;
        for (path, error) in placed {
            self.put_failed(path, error)?;
        }
        Ok(true)
    }

    fn look_at_link(&mut self, path: RemoteName, target: &[u8]) -> Result<(), Stop> {
        if self.policy.links == LinkPolicy::Skip || !stays_inside(&path, target) {
            self.delta.skipped_links += 1;
            return Ok(());
        }
        let Some(here) = self.look(&path)? else { return Ok(()) };
        if matches!(&here, Here::Link { target: here } if here == target) {
            self.delta.links += 1;
            return Ok(());
        }
        if !self.may_take_the_place_of(&here, &path)? {
            return Ok(());
        }
        let existing = self.existing_where(&here);
        if let Some((tree, writer)) = &mut self.building {
            if let Err(error) = writer.make_link(&path, target) {
                return self.put_failed(path, error);
            }
            for (path, error) in tree.place([(path, existing)].into_iter(), 0)? {
                self.put_failed(path, error)?;
            }
        }
        self.delta.links += 1;
        Ok(())
    }

    /// Whether the name may be replaced when the file gets it. If nothing was there when it was looked at, whatever has
    /// come since is not replaced, such as another file of the tree whose name this file system takes for the same.
    fn existing_where(&self, here: &Here) -> Existing {
        if *here == Here::Nothing { Existing::Refuse } else { self.policy.existing }
    }

    /// Whether what is here may be replaced; where it may not, that is told.
    fn may_take_the_place_of(&mut self, here: &Here, path: &RemoteName) -> Result<bool, Stop> {
        let reason = match here {
            Here::Nothing => return Ok(true),
            Here::Folder => "a folder is here",
            Here::Other => "something that is no file is here",
            Here::File { .. } | Here::Link { .. } if self.policy.existing == Existing::Replace => {
                return Ok(true);
            }
            Here::File { .. } => "what is here differs in size or time; -f replaces it",
            Here::Link { .. } => "a symbolic link is here; -f replaces it",
        };
        self.fail(path.clone(), reason.into()).map(|()| false)
    }

    fn send(&self, files: Vec<Wanted>, content: Content) -> Result<(), Stop> {
        if files.is_empty() {
            return Ok(());
        }
        self.out.small.send_blocking(Batch { files, content }).map_err(|_| Stop::Abandoned)
    }

    fn put_failed(&self, path: RemoteName, error: PutError) -> Result<(), Stop> {
        if let Some((tree, _)) = &self.building {
            check_disk(tree, error)?;
        }
        self.fail(path, error.to_string())
    }

    fn fail(&self, path: RemoteName, reason: String) -> Result<(), Stop> {
        self.report(Report::Failed { path, reason })
    }

    fn report(&self, report: Report) -> Result<(), Stop> {
        self.out.reports.blocking_send(report).map_err(|_| Stop::Abandoned)
    }
}

/// Whether a link leads to a place inside the tree, whatever other links of the tree it leads through: it may climb
/// only at its beginning, where what it climbs are folders, and no higher than the root.
fn stays_inside(path: &RemoteName, target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") {
        return false;
    }
    let depth = path.split_last().0.count();
    let components =
        || target.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let climbs = components().take_while(|part| *part == b"..").count();
    climbs <= depth && components().skip(climbs).all(|part| part != b"..")
}

#[cfg(test)]
mod tests {
    use towline_proto::name::RemoteName;

    use super::stays_inside;

    #[test]
    fn links_stay_inside_also_through_other_links() {
        let stays = |path: &str, target: &str| {
            stays_inside(&RemoteName::parse(path.as_bytes()).unwrap(), target.as_bytes())
        };
        for (path, target) in [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../b/c"), ("a", "./b/")] {
            assert!(stays(path, target), "{path} -> {target}");
        }
        for (path, target) in [
            ("a", "/etc"),
            ("a", ".."),
            ("a", "../b"),
            ("d/a", "../../b"),
            ("d/a", "b/../c"),
            ("a", ""),
        ] {
            assert!(!stays(path, target), "{path} -> {target}");
        }
    }
}
