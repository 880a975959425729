//! The row set of encryption: one large file over TLS 1.3 and loopback, in memory, not synced.

use std::thread;

use anyhow::Result;

use super::get::{Get, Manner, Memory, Protection};
use super::peers::{self, Certificate, Curl, Sftp};
use super::report::{Target, Work};
use super::{Bench, RowSet, SETTLE, system};

const WARM: &str = "towline over TLS, hashes known";
const COLD: &str = "towline over TLS, hashes unknown";
const PLAIN: &str = "towline, plain, hashes known";

/// Makes the file and starts the servers.
pub(super) fn set_up(bench: &Bench) -> Result<RowSet> {
    peers::install(&["nginx", "openssl", "curl", "sftp", "sshd"])?;
    let source = system::served_file(bench.scratch.path(), bench.file_bytes, &bench.interruption)?;
    let certificate = Certificate::make(bench.scratch.path(), bench.road.address())?;
    thread::sleep(SETTLE);
    let get = |name, manner| Get::new(bench, &source, name, manner);
    let cold = Manner { memory: Memory::None, ..Manner::default() };
    let plain = Manner { protection: Protection::Plain, ..Manner::default() };
    let curl = || Curl::from_nginx_over_tls(bench, &source, &certificate);
    Ok(RowSet {
        title: format!(
            "one file of {} MiB over TLS 1.3, loopback, in memory, not synced, verified",
            bench.file_bytes >> 20
        ),
        work: Work::one_file(bench.file_bytes),
        contestants: vec![
            Box::new(get(WARM, Manner::default())?),
            Box::new(get(COLD, cold)?),
            Box::new(curl()?),
            Box::new(curl()?.with_aes_128()),
            Box::new(Sftp::start(bench, &source)?),
            Box::new(get(PLAIN, plain)?),
        ],
        targets: vec![
            Target { of: WARM, against: Curl::NGINX_TLS, at_least: 1.0 },
            Target { of: WARM, against: Curl::NGINX_TLS_AES_128, at_least: 1.0 },
        ],
    })
}
