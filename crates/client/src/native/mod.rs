//! Fetching files and trees by the native protocol (PROTOCOL.md, "The native protocol").

mod beginning;
mod download;
mod downloaded;
mod error;
mod growth;
mod kept;
mod last_heard;
pub mod listing;
mod login;
mod options;
mod other_service;
mod retries;
mod seats;
mod server;
mod session;
mod sync_ahead;
mod transfer;
pub mod tree;
mod waves;
mod worker;

pub use self::download::download;
pub use self::downloaded::{Downloaded, Tally};
pub use self::error::{DownloadError, Failure};
pub use self::login::{log_in, may_log_in};
pub use self::options::{Busy, Connections, Keep, Options};
pub use self::other_service::OtherService;
pub use self::seats::Seats;
pub use self::server::Server;
pub use self::session::SessionError;
