//! A network that fails between the client and a server that does nothing wrong.

mod bytes;
mod retries;

use std::time::Duration;

use towline_testkit::chaos::{ChaosProxy, Plan};

use crate::support::{Fetch, HonestServer, Outcome, assert_holds};

/// Where a connection stalls, this is what it costs; sound ones are given another chance if they need it.
const SILENCE_MAX: Duration = Duration::from_millis(400);
const RETRIES: u32 = 6;

/// Fetches `file` through a proxy whose first connection has `plan`; those after it are sound.
async fn fetch_through(
    plan: Plan,
    content: &[u8],
    prepare: impl FnOnce(Fetch) -> Fetch,
) -> (Fetch, Outcome) {
    let server = HonestServer::start("file", content).await;
    let proxy = ChaosProxy::start(server.addr(), move |connection| match connection {
        0 => plan.clone(),
        _ => Plan::clean(),
    })
    .await;
    let fetch = prepare(Fetch::new(proxy.addr(), "file").retries(RETRIES));
    let outcome = fetch.run().await;
    (fetch, outcome)
}

/// Fails unless the file, and nothing else, is there, and it is right.
fn assert_whole(fetch: &Fetch, outcome: &Outcome, content: &[u8]) {
    assert_holds(&outcome.downloaded().path, content);
    assert_eq!(fetch.tree(), ["downloads/", "downloads/file"]);
}
