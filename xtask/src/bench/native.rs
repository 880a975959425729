//! The row set of the native protocol: one large file over loopback, in memory, not synced.

use std::thread;

use anyhow::Result;

use super::get::{Get, Manner, Memory, Protection};
use super::limits::{Blake3, Wire};
use super::peers::{self, Copy, Curl, Rsync, Sftp};
use super::report::{Target, Work};
use super::{Bench, RowSet, SETTLE, system};

const WARM: &str = "towline, hashes known";
const COLD: &str = "towline, hashes unknown";

/// Makes the file and starts the servers.
pub(super) fn set_up(bench: &Bench) -> Result<RowSet> {
    peers::install(&["nginx", "caddy", "curl", "rsync", "sftp", "sshd"])?;
    let source = system::served_file(bench.scratch.path(), bench.file_bytes, &bench.interruption)?;
    thread::sleep(SETTLE);
    let get = |name, memory| {
        let manner = Manner { protection: Protection::Plain, memory, ..Manner::default() };
        Get::new(bench, &source, name, manner)
    };
    let target = |against, at_least| Target { of: WARM, against, at_least };
    Ok(RowSet {
        title: format!(
            "native protocol, plain, one file of {} MiB, loopback, in memory, not synced, verified",
            bench.file_bytes >> 20
        ),
        work: Work::one_file(bench.file_bytes),
        contestants: vec![
            Box::new(get(WARM, Memory::Kept)?),
            Box::new(get(COLD, Memory::None)?),
            Box::new(Curl::from_nginx(bench, &source)?),
            Box::new(Curl::from_caddy(bench, &source)?),
            Box::new(Rsync::start(bench, &source)?),
            Box::new(Sftp::start(bench, &source)?),
            Box::new(Copy::new(bench, &source)),
            Box::new(Wire::start(bench, &source)?),
            Box::new(Blake3 { source: source.clone() }),
        ],
        targets: vec![
            target(Curl::NGINX, 1.3),
            target(Curl::CADDY, 1.3),
            target(Rsync::NAME, 1.8),
            target(Sftp::NAME, 4.0),
            target(Copy::NAME, 1.0),
            Target { of: COLD, against: Curl::NGINX, at_least: 1.0 },
            Target { of: COLD, against: Curl::CADDY, at_least: 1.0 },
        ],
    })
}
