//! Trees: what is in folders, and small files many at once (PROTOCOL.md, "Trees").

use prost::Message;

use super::paths::{FrontCoding, Paths};
use super::{MessageError, Refusal};
use crate::limits::{
    DATA_BYTES_MAX, ENTRIES_MAX, FILE_BYTES_MAX, LINK_BYTES_MAX, LISTED_MAX, PATTERN_BYTES_MAX,
    PATTERNS_BYTES_MAX, RULES_MAX,
};
use crate::name::RemoteName;
use crate::native::wire;
use crate::piece::SizeError;

/// Room that an entry or a path takes in a frame beside its own bytes, at most.
const OVERHEAD_BYTES: usize = 64;

/// Bytes of entries or paths that a frame holds for certain, each with its overhead.
const PAGE_BYTES_MAX: usize = crate::limits::CONTROL_BYTES_MAX - 2 * crate::limits::NAME_BYTES_MAX;

/// Asks what is in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The folder; `None` for the served folder itself.
    pub folder: Option<RemoteName>,
    /// The path below the folder after which the listing goes on; `None` from the start.
    pub after: Option<RemoteName>,
    /// How deep it goes.
    pub depth: Depth,
    /// What belongs to it; at most [`RULES_MAX`].
    pub rules: Vec<Rule>,
    /// How many entries are wanted, from 1 to [`LISTED_MAX`].
    pub entries_max: u32,
}

/// How deep a listing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is in the folder itself.
    Folder,
    /// What is in its folders too.
    Tree,
}

/// Says of some paths whether they belong to a listing; the last rule that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it says.
    pub verdict: Verdict,
    /// A line of a .gitignore file, without `!`; at most [`PATTERN_BYTES_MAX`] bytes.
    pub pattern: String,
}

/// Whether something belongs to a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Include,
    /// It does not, nor does what is below it.
    Exclude,
}

/// Some of what is in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// In order: by components, folders before what is in them. At most [`ENTRIES_MAX`].
    pub entries: Vec<Entry>,
    /// Whether nothing comes after them.
    pub ended: bool,
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the folder.
    pub path: RemoteName,
    /// What it is.
    pub kind: EntryKind,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// Why it cannot be read, where that is known already.
    pub error: Option<Refusal>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File {
        /// In bytes.
        size: u64,
        /// Whether it has holes that are worth keeping.
        sparse: bool,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it leads; at most [`LINK_BYTES_MAX`] bytes.
        target: Vec<u8>,
    },
    /// Neither: a socket, a FIFO, a device.
    Other,
}

/// Asks for files of one piece at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTree {
    /// The folder; `None` for the served folder itself.
    pub folder: Option<RemoteName>,
    /// Paths below the folder, from 1 to [`ENTRIES_MAX`].
    pub files: Paths,
    /// What of them is sent.
    pub content: Content,
}

/// What is sent of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its bytes.
    Bytes,
    /// Only what they hash to.
    HashOnly,
}

/// A file of one piece at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallFile {
    /// Bytes of content, at most [`DATA_BYTES_MAX`].
    pub size: usize,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// BLAKE3 of the content.
    pub hash: blake3::Hash,
}

/// How much more one frame holds, whatever the paths share.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    bytes_left: usize,
    items_left: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { bytes_left: PAGE_BYTES_MAX, items_left: ENTRIES_MAX }
    }
}

impl Page {
    /// Takes room for an entry or a path with so many bytes of its own; tells whether the frame is full now.
    pub fn add(&mut self, bytes: usize) -> bool {
        self.bytes_left = self.bytes_left.saturating_sub(bytes.saturating_add(OVERHEAD_BYTES));
        self.items_left = self.items_left.saturating_sub(1);
        self.bytes_left == 0 || self.items_left == 0
    }
}

impl Entry {
    /// Bytes of its own, for [`Page::add`].
    pub fn own_bytes(&self) -> usize {
        let link = if let EntryKind::Link { target } = &self.kind { target.len() } else { 0 };
        let error = self.error.as_ref().map_or(0, |error| error.text.len());
        self.path.as_bytes().len().saturating_add(link).saturating_add(error)
    }
}

impl List {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let wire::List { folder, after, whole_tree, rules, entries_max } =
            Message::decode(payload)?;
        let lengths = || rules.iter().map(|rule| rule.pattern.len());
        if rules.len() > RULES_MAX
            || lengths().any(|length| length > PATTERN_BYTES_MAX)
            || lengths().sum::<usize>() > PATTERNS_BYTES_MAX
        {
            return Err(MessageError::Rules);
        }
        let rule = |wire::Rule { include, pattern }| {
            let verdict = if include { Verdict::Include } else { Verdict::Exclude };
            Rule { verdict, pattern }
        };
        Ok(Self {
            folder: optional(&folder)?,
            after: optional(&after)?,
            depth: if whole_tree { Depth::Tree } else { Depth::Folder },
            rules: rules.into_iter().map(rule).collect(),
            entries_max: entries_max.clamp(1, LISTED_MAX),
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let rule = |Rule { verdict, pattern }: &Rule| wire::Rule {
            include: *verdict == Verdict::Include,
            pattern: pattern.clone(),
        };
        wire::List {
            folder: bytes(self.folder.as_ref()),
            after: bytes(self.after.as_ref()),
            whole_tree: self.depth == Depth::Tree,
            rules: self.rules.iter().map(rule).collect(),
            entries_max: self.entries_max,
        }
        .encode_to_vec()
    }
}

impl Entries {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let wire::Entries { entries, ended } = Message::decode(payload)?;
        if entries.len() > ENTRIES_MAX {
            return Err(MessageError::Paths);
        }
        let mut paths = FrontCoding::default();
        let entries = entries.into_iter().map(|entry| decode_entry(entry, &mut paths));
        Ok(Self { entries: entries.collect::<Result<_, _>>()?, ended })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut paths = FrontCoding::default();
        let entries = self.entries.iter().map(|entry| encode_entry(entry, &mut paths));
        wire::Entries { entries: entries.collect(), ended: self.ended }.encode_to_vec()
    }
}

fn decode_entry(entry: wire::Entry, paths: &mut FrontCoding) -> Result<Entry, MessageError> {
    let wire::Entry { shared, rest, kind, size, modified_ns, mode, sparse, link, error } = entry;
    let path = paths.decode(shared, &rest)?;
    let kind = match kind {
        1 if size > FILE_BYTES_MAX => return Err(SizeError(size).into()),
        1 => EntryKind::File { size, sparse },
        2 => EntryKind::Folder,
        3 if link.len() <= LINK_BYTES_MAX => EntryKind::Link { target: link },
        // Also kinds that are yet to come.
        _ => EntryKind::Other,
    };
    Ok(Entry { path, kind, modified_ns, mode, error: error.map(Refusal::from) })
}

fn encode_entry(entry: &Entry, paths: &mut FrontCoding) -> wire::Entry {
    let Entry { path, kind, modified_ns, mode, error } = entry;
    let wire::Path { shared, rest } = paths.encode(path);
    let plain = wire::Entry {
        shared,
        rest,
        modified_ns: *modified_ns,
        mode: *mode,
        error: error.as_ref().map(wire::Error::from),
        ..wire::Entry::default()
    };
    match kind {
        EntryKind::File { size, sparse } => {
            wire::Entry { kind: 1, size: *size, sparse: *sparse, ..plain }
        }
        EntryKind::Folder => wire::Entry { kind: 2, ..plain },
        EntryKind::Link { target } => wire::Entry { kind: 3, link: target.clone(), ..plain },
        EntryKind::Other => wire::Entry { kind: 4, ..plain },
    }
}

impl FetchTree {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let wire::FetchTree { folder, files, hashes_only } = Message::decode(payload)?;
        if files.is_empty() || files.len() > ENTRIES_MAX {
            return Err(MessageError::Paths);
        }
        let files = Paths::decode(files)?;
        let content = if hashes_only { Content::HashOnly } else { Content::Bytes };
        Ok(Self { folder: optional(&folder)?, files, content })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let files = self.files.encode();
        let hashes_only = self.content == Content::HashOnly;
        wire::FetchTree { folder: bytes(self.folder.as_ref()), files, hashes_only }.encode_to_vec()
    }
}

impl SmallFile {
    pub(super) fn decode(payload: &[u8]) -> Result<Result<Self, Refusal>, MessageError> {
        let wire::File { size, modified_ns, mode, hash, error } = Message::decode(payload)?;
        if let Some(error) = error {
            return Ok(Err(error.into()));
        }
        let within_cap = usize::try_from(size).ok().filter(|size| *size <= DATA_BYTES_MAX);
        let size = within_cap.ok_or(SizeError(size.into()))?;
        let hash = hash.as_slice().try_into().map_err(|_| MessageError::Hashes)?;
        Ok(Ok(Self { size, modified_ns, mode, hash: blake3::Hash::from_bytes(hash) }))
    }

    pub(super) fn encode(file: Result<&Self, &Refusal>) -> Vec<u8> {
        match file {
            Ok(Self { size, modified_ns, mode, hash }) => wire::File {
                // A size above the cap is refused by the peer.
                size: u32::try_from(*size).unwrap_or(u32::MAX),
                modified_ns: *modified_ns,
                mode: *mode,
                hash: hash.as_bytes().to_vec(),
                error: None,
            },
            Err(refusal) => wire::File { error: Some(refusal.into()), ..wire::File::default() },
        }
        .encode_to_vec()
    }
}

fn optional(name: &[u8]) -> Result<Option<RemoteName>, MessageError> {
    if name.is_empty() { Ok(None) } else { Ok(Some(RemoteName::parse(name)?)) }
}

fn bytes(name: Option<&RemoteName>) -> Vec<u8> {
    name.map_or_else(Vec::new, |name| name.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{
        Content, Depth, Entries, Entry, EntryKind, FetchTree, List, Page, Rule, SmallFile, Verdict,
    };
    use crate::limits::{CONTROL_BYTES_MAX, DATA_BYTES_MAX, ENTRIES_MAX, RULES_MAX};
    use crate::name::RemoteName;
    use crate::native::message::{ErrorCode, MessageError, Refusal};
    use crate::native::wire;

    fn name(text: &str) -> RemoteName {
        RemoteName::parse(text.as_bytes()).unwrap()
    }

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: name(path), kind, modified_ns: -1, mode: 0o755, error: None }
    }

    fn refusal() -> Refusal {
        Refusal { code: ErrorCode::Denied, text: "no".into(), retry: false }
    }

    #[test]
    fn listings_survive_the_wire() {
        let rules = vec![
            Rule { verdict: Verdict::Include, pattern: "*.gz".into() },
            Rule { verdict: Verdict::Exclude, pattern: "tmp/".into() },
        ];
        for list in [
            List { folder: None, after: None, depth: Depth::Folder, rules: vec![], entries_max: 1 },
            List {
                folder: Some(name("a/b")),
                after: Some(name("c")),
                depth: Depth::Tree,
                rules,
                entries_max: 9,
            },
        ] {
            assert_eq!(List::decode(&list.encode()), Ok(list));
        }
        let entries = Entries {
            entries: vec![
                entry("a", EntryKind::Folder),
                entry("a/b", EntryKind::File { size: 5, sparse: true }),
                Entry { error: Some(refusal()), ..entry("a/bc", EntryKind::Folder) },
                entry("a/bc/d", EntryKind::Link { target: b"../x".to_vec() }),
                entry("b", EntryKind::Other),
            ],
            ended: true,
        };
        assert_eq!(Entries::decode(&entries.encode()), Ok(entries));
    }

    #[test]
    fn small_files_survive_the_wire() {
        for content in [Content::Bytes, Content::HashOnly] {
            let files = [name("a/b"), name("a/c"), name("d")].into_iter().collect();
            let fetch = FetchTree { folder: None, files, content };
            assert_eq!(FetchTree::decode(&fetch.encode()), Ok(fetch));
        }
        let hash = blake3::hash(b"x");
        let file = SmallFile { size: DATA_BYTES_MAX, modified_ns: 1, mode: 0o600, hash };
        assert_eq!(SmallFile::decode(&SmallFile::encode(Ok(&file))), Ok(Ok(file)));
        assert_eq!(SmallFile::decode(&SmallFile::encode(Err(&refusal()))), Ok(Err(refusal())));
        let large = SmallFile { size: DATA_BYTES_MAX + 1, ..file };
        assert!(SmallFile::decode(&SmallFile::encode(Ok(&large))).is_err());
        let no_hash = wire::File { size: 1, ..wire::File::default() }.encode_to_vec();
        assert_eq!(SmallFile::decode(&no_hash), Err(MessageError::Hashes));
    }

    #[test]
    fn what_is_beyond_its_cap_is_refused() {
        let rule = |bytes| wire::Rule { include: true, pattern: "x".repeat(bytes) };
        for rules in [vec![rule(1_025)], vec![rule(1_024); 17], vec![rule(0); RULES_MAX + 1]] {
            let list = wire::List { rules, ..wire::List::default() }.encode_to_vec();
            assert_eq!(List::decode(&list), Err(MessageError::Rules));
        }
        let path = wire::Path { shared: 0, rest: b"a".to_vec() };
        for files in [vec![], vec![path; ENTRIES_MAX + 1]] {
            let fetch = wire::FetchTree { files, ..wire::FetchTree::default() }.encode_to_vec();
            assert_eq!(FetchTree::decode(&fetch), Err(MessageError::Paths));
        }
        let beyond = wire::Path { shared: 1, rest: b"a".to_vec() };
        let fetch =
            wire::FetchTree { files: vec![beyond], ..wire::FetchTree::default() }.encode_to_vec();
        assert_eq!(FetchTree::decode(&fetch), Err(MessageError::Paths));
        let climbing = wire::Entry { rest: b"../x".to_vec(), kind: 1, ..wire::Entry::default() };
        let huge = wire::Entry { size: u64::MAX, rest: b"x".to_vec(), ..climbing.clone() };
        for entry in [climbing, huge] {
            let entries = wire::Entries { entries: vec![entry], ended: true }.encode_to_vec();
            assert!(Entries::decode(&entries).is_err());
        }
    }

    #[test]
    fn a_full_page_fits_into_a_frame_whatever_its_paths_share() {
        for length in [1, 30, 255] {
            let (mut page, mut entries) = (Page::default(), Entries::default());
            for index in 0.. {
                let digit = char::from(b'a' + u8::try_from(index % 26).unwrap());
                let path = String::from(digit).repeat(length);
                let link = EntryKind::Link { target: vec![b'/'; 4_096] };
                let entry = Entry { mode: u32::MAX, modified_ns: i64::MIN, ..entry(&path, link) };
                let is_full = page.add(entry.own_bytes());
                entries.entries.push(entry);
                if is_full {
                    break;
                }
            }
            assert!(entries.encode().len() <= CONTROL_BYTES_MAX);
        }
    }
}
