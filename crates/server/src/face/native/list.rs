//! Answering `List`: entries go out as they are found, and the walk is kept for the request that goes on with it.

use std::io;

use tokio::task::spawn_blocking;
use towline_proto::native::message::Answer;
use towline_proto::native::message::tree::{Entries, Entry, List, Page};
use towline_store::walk::{Found, Held, Step, WalkError};

use super::heartbeats::with_heartbeats;
use super::refusal::{Failure, of_opening};
use super::requests::Wanted;
use super::sender::Sender;
use crate::auth::Caller;
use crate::budgets::{Busy, Place};
use crate::listing::Listing;
use crate::session::Session;

/// Names that are looked at before others have a turn, whether anything is found or not, where there are few patterns to
/// hold them against.
const STEPS_AT_ONCE: usize = 4_096;

/// Bytes of patterns for which a name counts once more, as it takes longer to hold against them.
const STEP_PATTERNS_BYTES: usize = 256;

/// What a byte of a pattern counts for: it is here as a request has it, and ready to be matched.
const PATTERN_FACTOR: usize = 16;

/// What a folder counts for that a walk keeps open, in bytes: there are fewer descriptors than there is memory.
const OPEN_FOLDER_BYTES: usize = 128 * 1_024;

/// A listing that was answered as far as it was asked for, or is to go on when its peer has taken what was found.
#[derive(Debug)]
pub(super) struct Kept {
    /// What it goes on with.
    rest: List,
    /// For whom, as they were then.
    caller: Caller,
    listing: Listing,
    /// For what it holds meanwhile.
    _room: Place,
}

impl Kept {
    fn goes_on_with(&self, list: &List, caller: &Caller) -> bool {
        let List { folder, after, depth, rules, entries_max: _ } = &self.rest;
        *after == list.after
            && *folder == list.folder
            && *depth == list.depth
            && *rules == list.rules
            && self.caller.is_still(caller)
    }
}

/// Sends entries until there are no more, or as many as were asked for; then `kept` has what is left. Where a listing that
/// is to go on finds no room to stand, it begins anew behind the last entry.
pub(super) async fn list(
    mut list: List,
    kept: &mut Option<Kept>,
    wanted: &Wanted,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), Failure> {
    loop {
        // What was proved may have been revoked between two pages, and rules may be others.
        let caller = session.caller()?;
        // One that does not go on gives its place back before another one is taken.
        let listing = match kept.take().filter(|kept| kept.goes_on_with(&list, &caller)) {
            Some(kept) => kept.listing,
            None => {
                with_heartbeats(start(&list, caller.clone(), session), sender, session).await??
            }
        };
        let looking = look(listing, &list, wanted, session);
        let (listing, page) = with_heartbeats(looking, sender, session).await??;
        // Turns may be long in coming: what was found by rules that do not hold any more is told to nobody.
        if !session.caller()?.is_still(&caller) {
            continue;
        }
        let page = match page {
            Ok(page) => page,
            Err(WalkError::GivenUp) => return Ok(()),
            Err(WalkError::Io(error)) => return Err(Failure::of_folder(&error)),
        };
        let (has_ended, is_empty) = (page.ended, page.entries.is_empty());
        if let Some(last) = page.entries.last() {
            list.after = Some(last.path.clone());
        }
        let found = u32::try_from(page.entries.len()).unwrap_or(u32::MAX);
        list.entries_max = list.entries_max.saturating_sub(found);
        if !has_ended {
            *kept = keep(listing, &list, caller, session);
        }
        if !is_empty || has_ended {
            sender.queue(&Answer::Entries(page));
            sender.flush().await?;
        } else if kept.is_none() {
            // It would never get any further.
            return Err(Busy.into());
        }
        if has_ended || list.entries_max == 0 {
            sender.queue(&Answer::Done);
            return Ok(());
        }
    }
}

async fn start(list: &List, caller: Caller, session: &Session) -> Result<Listing, Failure> {
    let name = list.folder.as_ref().map_or_else(|| "the folder".into(), ToString::to_string);
    tracing::info!("{}: lists {name}", session.peer);
    let listing = session.server.service.list(caller, list.clone()).await;
    listing.map_err(|error| Failure::of_service(&name, &error))
}

/// Keeps a listing that has not ended, where there is room for what it holds.
fn keep(listing: Listing, rest: &List, caller: Caller, session: &Session) -> Option<Kept> {
    let Held { folders, names_bytes, spilled_bytes } = listing.held();
    let bytes = names_bytes + folders * OPEN_FOLDER_BYTES + patterns_bytes(rest) * PATTERN_FACTOR;
    let spilled_bytes = usize::try_from(spilled_bytes).unwrap_or(usize::MAX);
    let bytes = bytes.saturating_add(spilled_bytes);
    let room = session.server.budgets.standing_walks.try_take(session.source(), bytes)?;
    Some(Kept { rest: rest.clone(), caller, listing, _room: room })
}

fn patterns_bytes(list: &List) -> usize {
    list.rules.iter().map(|rule| rule.pattern.len()).sum()
}

/// Goes on with a listing for a while, in a thread where that may block.
async fn look(
    mut listing: Listing,
    list: &List,
    wanted: &Wanted,
    session: &Session,
) -> io::Result<(Listing, Result<Entries, WalkError>)> {
    let place = session.server.budgets.walks.take(session.source(), 1).await;
    let (entries_max, wanted) = (list.entries_max as usize, wanted.clone());
    let steps = STEPS_AT_ONCE / (1 + patterns_bytes(list) / STEP_PATTERNS_BYTES);
    let looking = spawn_blocking(move || {
        // Whoever asked may be gone by now, but the thread is taken all the same.
        let _place = place;
        let page = read_page(&mut listing, steps, entries_max, &|| wanted.is_wanted());
        (listing, page)
    });
    Ok(looking.await?)
}

/// The next entries: as many as one frame holds, or as are found in a number of steps.
fn read_page(
    listing: &mut Listing,
    steps: usize,
    entries_max: usize,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Entries, WalkError> {
    let (mut entries, mut page) = (Vec::new(), Page::default());
    for _ in 0..steps {
        let found = match listing.step(is_wanted)? {
            Step::Found(found) => found,
            Step::Nothing => continue,
            Step::End => return Ok(Entries { entries, ended: true }),
        };
        let entry = entry(found);
        let is_full = page.add(entry.own_bytes());
        entries.push(entry);
        if is_full || entries.len() == entries_max {
            break;
        }
    }
    Ok(Entries { entries, ended: false })
}

fn entry(found: Found) -> Entry {
    let Found { path, kind, modified_ns, mode, error } = found;
    let error = error.map(|error| of_opening(&path, &error));
    Entry { path, kind, modified_ns, mode, error }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use towline_net::stream::Stream;
    use towline_proto::native::frame::{HEADER_BYTES, Header};
    use towline_proto::native::message::tree::{Depth, Rule, Verdict};
    use towline_proto::native::message::{ErrorCode, Refusal};

    use super::super::requests::Queue;
    use super::super::testing::{connected, deny_everything, session, waits_for, write};
    use super::*;
    use crate::metrics::Limit;

    const NAMES: usize = STEPS_AT_ONCE + 1;

    /// What comes of listing [`NAMES`] names where nothing has room to stand still, and how many are found.
    async fn list_without_room(rules: Vec<Rule>) -> (Result<(), Failure>, usize) {
        let (session, folder) = session();
        let server = Arc::clone(&session.server);
        for number in 0..NAMES {
            write(&folder, &number.to_string(), "");
        }
        let _all = session.server.budgets.standing_walks.try_take(session.source(), usize::MAX);
        let (near, mut far) = connected().await;
        let (_queue, queued) = Queue::new();
        let list =
            List { folder: None, after: None, depth: Depth::Tree, rules, entries_max: u32::MAX };
        let listing = async move {
            let mut near = Stream::plain(near);
            let mut sender = Sender::new(near.split().1, &session);
            let mut kept = None;
            let listed =
                super::list(list, &mut kept, &queued.wanted(0), &mut sender, &session).await;
            sender.flush().await.unwrap();
            assert!(kept.is_none());
            listed
        };
        let mut came = Vec::new();
        let (listed, read) = tokio::join!(listing, far.read_to_end(&mut came));
        read.unwrap();
        // Each page met the bound, and monitoring sees that.
        let metrics = server.metrics.scrape(&server.gauges()).unwrap();
        let met = "towline_limits_hit_total{limit=\"standing-walks\"} ";
        let met = metrics.lines().find_map(|line| line.strip_prefix(met));
        assert!(met.is_some_and(|met| met != "0"), "{metrics}");
        let (mut rest, mut found) = (&came[..], 0);
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let Header { kind, length, .. } = Header::decode(header).unwrap();
            let (payload, next) = behind.split_at(length);
            if let Answer::Entries(page) = Answer::decode(kind, payload).unwrap() {
                found += page.entries.len();
            }
            rest = next;
        }
        (listed, found)
    }

    #[tokio::test]
    async fn a_listing_without_room_to_stand_begins_anew_behind_each_page() {
        let (listed, found) = list_without_room(Vec::new()).await;
        assert!(listed.is_ok());
        assert_eq!(found, NAMES);
    }

    #[tokio::test]
    async fn one_that_would_get_no_further_is_told_to_come_again() {
        let nothing = Rule { verdict: Verdict::Exclude, pattern: "*".into() };
        let (listed, found) = list_without_room(vec![nothing]).await;
        let Err(Failure::Refused(Refusal { code, retry, .. })) = listed else {
            panic!("it was not refused");
        };
        assert_eq!((code, retry, found), (ErrorCode::Busy, true, 0));
    }

    #[tokio::test]
    async fn what_is_denied_while_a_listing_waits_for_its_turn_is_not_shown() {
        let (session, folder) = session();
        write(&folder, "file", "");
        let busy = session.server.budgets.walks.take(session.source(), usize::MAX).await;
        let (near, mut far) = connected().await;
        let (_queue, queued) = Queue::new();
        let (server, rules) = (Arc::clone(&session.server), Vec::new());
        let list =
            List { folder: None, after: None, depth: Depth::Tree, rules, entries_max: u32::MAX };
        let listing = async move {
            let mut near = Stream::plain(near);
            let mut sender = Sender::new(near.split().1, &session);
            super::list(list, &mut None, &queued.wanted(0), &mut sender, &session).await
        };
        let listing = waits_for(Limit::Walks, &server, listing).await;
        deny_everything(&server);
        drop(busy);
        let Err(Failure::Refused(Refusal { code, .. })) = listing.await else {
            panic!("it was not refused");
        };
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        assert_eq!((code, came.len()), (ErrorCode::Denied, 0));
    }
}
