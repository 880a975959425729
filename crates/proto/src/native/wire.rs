//! The messages as they stand in `towline.proto`; everything is checked when [`super::message`] takes it over.

/// `Stat`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Stat {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
}

/// `LogIn`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct LogIn {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(string, tag = "2")]
    pub(super) secret: String,
}

/// `Info`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Info {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) version: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(super) size: u64,
    #[prost(sint64, tag = "3")]
    pub(super) modified_ns: i64,
    #[prost(uint32, tag = "4")]
    pub(super) mode: u32,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) root: Option<Vec<u8>>,
    #[prost(uint64, tag = "6")]
    pub(super) stored_bytes: u64,
}

/// `Run`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Run {
    #[prost(uint32, tag = "1")]
    pub(super) first: u32,
    #[prost(uint32, tag = "2")]
    pub(super) count: u32,
}

/// `Fetch`, and `Hashes`, which has one run.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Pieces {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) version: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub(super) runs: Vec<Run>,
}

/// `Piece`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Piece {
    #[prost(uint32, tag = "1")]
    pub(super) index: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) hash: Vec<u8>,
}

/// `Hole`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Hole {
    #[prost(uint64, tag = "1")]
    pub(super) bytes: u64,
}

/// `HashList`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct HashList {
    #[prost(uint32, tag = "1")]
    pub(super) first: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) hashes: Vec<u8>,
}

/// `Error`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Error {
    #[prost(uint32, tag = "1")]
    pub(super) code: u32,
    #[prost(string, tag = "2")]
    pub(super) text: String,
    #[prost(bool, tag = "3")]
    pub(super) retry: bool,
}

/// `List`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct List {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) folder: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) after: Vec<u8>,
    #[prost(bool, tag = "3")]
    pub(super) whole_tree: bool,
    #[prost(message, repeated, tag = "4")]
    pub(super) rules: Vec<Rule>,
    #[prost(uint32, tag = "5")]
    pub(super) entries_max: u32,
}

/// `Rule`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Rule {
    #[prost(bool, tag = "1")]
    pub(super) include: bool,
    #[prost(string, tag = "2")]
    pub(super) pattern: String,
}

/// `Path`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Path {
    #[prost(uint32, tag = "1")]
    pub(super) shared: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) rest: Vec<u8>,
}

/// `Entries`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Entries {
    #[prost(message, repeated, tag = "1")]
    pub(super) entries: Vec<Entry>,
    #[prost(bool, tag = "2")]
    pub(super) ended: bool,
}

/// `Entry`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Entry {
    #[prost(uint32, tag = "1")]
    pub(super) shared: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) rest: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub(super) kind: u32,
    #[prost(uint64, tag = "4")]
    pub(super) size: u64,
    #[prost(sint64, tag = "5")]
    pub(super) modified_ns: i64,
    #[prost(uint32, tag = "6")]
    pub(super) mode: u32,
    #[prost(bool, tag = "7")]
    pub(super) sparse: bool,
    #[prost(bytes = "vec", tag = "8")]
    pub(super) link: Vec<u8>,
    #[prost(message, optional, tag = "9")]
    pub(super) error: Option<Error>,
}

/// `FetchTree`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct FetchTree {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) folder: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub(super) files: Vec<Path>,
    #[prost(bool, tag = "3")]
    pub(super) hashes_only: bool,
}

/// `File`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct File {
    #[prost(uint32, tag = "1")]
    pub(super) size: u32,
    #[prost(sint64, tag = "2")]
    pub(super) modified_ns: i64,
    #[prost(uint32, tag = "3")]
    pub(super) mode: u32,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) hash: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub(super) error: Option<Error>,
}
