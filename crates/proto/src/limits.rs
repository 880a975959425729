//! Every cap on what a peer may make us read, hold or count (PROTOCOL.md, "Limits").

/// Longest name on any wire, in bytes. Keeps the first two bytes of a classic request zero, which is
/// how the one port knows it (PROTOCOL.md, "One port").
pub const NAME_BYTES_MAX: usize = 4_096;

/// Longest single component of a name, in bytes: what Linux file systems hold.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// Most components that a name may have.
pub const NAME_DEPTH_MAX: usize = 256;

/// Largest file size that is believed, in bytes: file offsets are signed 64-bit numbers.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Most bytes that a client keeps of a classic `ERROR` text.
pub const CLASSIC_ERROR_BYTES_MAX: usize = 1_024;

/// Most bytes that a server reads and drops of what a client sends after its classic request.
pub const CLASSIC_DRAIN_BYTES_MAX: usize = 64 * 1_024;

/// Most pieces that a file is cut into.
pub const PIECES_MAX: u32 = 1 << 20;

/// Largest control payload of a native frame, in bytes.
pub const CONTROL_BYTES_MAX: usize = 64 * 1_024;

/// Largest data payload of a native frame, in bytes.
pub const DATA_BYTES_MAX: usize = 1_024 * 1_024;

/// Most bytes of an opaque file version.
pub const VERSION_BYTES_MAX: usize = 64;

/// Most runs of pieces in one fetch.
pub const FETCH_RUNS_MAX: usize = 1_024;

/// Most piece hashes in one answer: 32 bytes each stay within a control payload.
pub const HASHES_MAX: u32 = 1_024;

/// Most requests of one connection that wait for an answer.
pub const PIPELINED_MAX: usize = 32;

/// Most entries in one frame of a listing, and most files in one request for small files.
pub const ENTRIES_MAX: usize = 1_024;

/// Most entries that one request for a listing may ask for.
pub const LISTED_MAX: u32 = 1 << 20;

/// Most rules of a listing that say what belongs to it.
pub const RULES_MAX: usize = 256;

/// Longest pattern of such a rule, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1_024;

/// Bytes of all patterns of a listing together: made ready to be asked, they take a hundred times as much.
pub const PATTERNS_BYTES_MAX: usize = 16 * 1_024;

/// Longest target of a symbolic link that is told, in bytes: what Linux follows.
pub const LINK_BYTES_MAX: usize = 4_096;

/// Longest name of a user, in bytes.
pub const USER_BYTES_MAX: usize = 256;

/// Longest password or token, in bytes.
pub const SECRET_BYTES_MAX: usize = 1_024;
