//! Which connection fetches which pieces: pure, the clock is the caller's.
//!
//! Pieces that are missing are handed out in runs. Pieces of a lost connection go back. When none are missing
//! any more, an idle connection takes over the tail of one that would take much longer; whoever brings a
//! piece first has brought it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

/// Pieces in the first run of a connection, before its speed is known.
const FIRST_RUN: u32 = 4;

/// Most pieces in a run.
const RUN_MAX: u32 = 64;

/// A run should take about this long: long enough to hide the way there, short enough to lose little.
const RUN_TIME: Duration = Duration::from_millis(500);

/// Tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

/// The state of a transfer: what is there, what is under way and with whom, what is missing.
#[derive(Clone, Debug)]
pub struct Plan {
    there: Vec<bool>,
    there_count: u32,
    /// Disjoint runs, by their first piece.
    missing: BTreeMap<u32, u32>,
    workers: BTreeMap<WorkerId, Worker>,
}

#[derive(Clone, Debug)]
struct Worker {
    /// In the order in which they will come.
    under_way: VecDeque<u32>,
    /// When a piece last came, or the first was asked for.
    last_progress: Duration,
    /// Smoothed time per piece; `None` before the first.
    time_per_piece: Option<Duration>,
}

/// What the arrival of a piece means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the first to come.
    New,
    /// Another connection was faster.
    Duplicate,
}

impl Plan {
    /// All of `count` pieces are missing.
    pub fn new(count: u32) -> Self {
        let missing = if count > 0 { BTreeMap::from([(0, count)]) } else { BTreeMap::new() };
        Self {
            there: vec![false; count as usize],
            there_count: 0,
            missing,
            workers: BTreeMap::new(),
        }
    }

    /// Whether every piece is there.
    pub fn is_complete(&self) -> bool {
        self.there_count as usize == self.there.len()
    }

    /// Whether a piece is there.
    pub fn is_there(&self, piece: u32) -> bool {
        self.there.get(piece as usize).copied().unwrap_or_default()
    }

    /// Gives a worker a run of missing pieces; if there are none, one that a much slower worker has not come to
    /// yet. `None` when there is nothing that it could do.
    pub fn take(&mut self, id: WorkerId, now: Duration) -> Option<Range<u32>> {
        let length = self.run_length(id);
        let run = self.take_missing(length).or_else(|| self.take_over(id, now))?;
        let worker = self.worker(id, now);
        if worker.under_way.is_empty() {
            worker.last_progress = now;
        }
        worker.under_way.extend(run.clone());
        Some(run)
    }

    /// Sets pieces aside for a worker that found them some other way than by asking, so that nobody fetches them
    /// meanwhile; those that are there already are left out.
    pub fn reserve(&mut self, id: WorkerId, pieces: impl IntoIterator<Item = u32>, now: Duration) {
        for piece in pieces {
            if self.remove_missing(piece) {
                self.worker(id, now).under_way.push_back(piece);
            }
        }
    }

    /// A verified piece has come from a worker.
    pub fn arrived(&mut self, id: WorkerId, piece: u32, now: Duration) -> Arrival {
        let worker = self.worker(id, now);
        let took = now.saturating_sub(worker.last_progress);
        worker.time_per_piece =
            Some(worker.time_per_piece.map_or(took, |before| (before * 3 + took) / 4));
        worker.last_progress = now;
        for worker in self.workers.values_mut() {
            worker.under_way.retain(|&other| other != piece);
        }
        match self.there.get_mut(piece as usize) {
            Some(there @ false) => {
                *there = true;
                self.there_count += 1;
                self.remove_missing(piece);
                Arrival::New
            }
            _ => Arrival::Duplicate,
        }
    }

    /// A piece from a worker was not what it should be: it is missing again, unless another has it under way.
    pub fn failed(&mut self, id: WorkerId, piece: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.under_way.retain(|&other| other != piece);
        }
        self.put_back(piece);
    }

    /// A worker is gone: what it had under way is missing again.
    pub fn lost(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        for piece in worker.under_way {
            self.put_back(piece);
        }
    }

    fn worker(&mut self, id: WorkerId, now: Duration) -> &mut Worker {
        self.workers.entry(id).or_insert_with(|| Worker {
            under_way: VecDeque::new(),
            last_progress: now,
            time_per_piece: None,
        })
    }

    /// Pieces that fit into the run time; few when few are left, so that all end together.
    fn run_length(&self, id: WorkerId) -> u32 {
        let measured = self.workers.get(&id).and_then(|worker| worker.time_per_piece);
        let fitting = measured.map_or(FIRST_RUN, |time| {
            let fitting = RUN_TIME.as_nanos() / time.as_nanos().max(1);
            u32::try_from(fitting).unwrap_or(RUN_MAX).clamp(1, RUN_MAX)
        });
        let missing: u32 = self.missing.iter().map(|(first, end)| end - first).sum();
        let share = missing.div_ceil(2 * u32::try_from(self.workers.len().max(1)).unwrap_or(1));
        fitting.min(share.max(1))
    }

    fn take_missing(&mut self, length: u32) -> Option<Range<u32>> {
        let (first, end) = self.missing.pop_first()?;
        let cut = end.min(first + length);
        if cut < end {
            self.missing.insert(cut, end);
        }
        Some(first..cut)
    }

    /// The run at the end of the slowest other worker's queue, if `id` would have it much sooner.
    fn take_over(&self, id: WorkerId, now: Duration) -> Option<Range<u32>> {
        let mine = self.workers.get(&id);
        let my_time = mine.and_then(|worker| worker.time_per_piece).unwrap_or_default();
        let (_, slowest) = self
            .workers
            .iter()
            .filter(|(other, worker)| **other != id && !worker.under_way.is_empty())
            .max_by_key(|(_, worker)| worker.time_left(now))?;
        let last = *slowest
            .under_way
            .iter()
            .rev()
            .find(|piece| !mine.is_some_and(|worker| worker.under_way.contains(piece)))?;
        let mine_ahead = mine.map_or(0, |worker| worker.under_way.len());
        let my_time_left = my_time * u32::try_from(mine_ahead + 1).unwrap_or(u32::MAX);
        (my_time_left * 2 < slowest.time_left(now)).then_some(last..last + 1)
    }

    fn remove_missing(&mut self, piece: u32) -> bool {
        let Some((&first, &end)) = self.missing.range(..=piece).next_back() else { return false };
        if piece >= end {
            return false;
        }
        self.missing.remove(&first);
        if first < piece {
            self.missing.insert(first, piece);
        }
        if piece + 1 < end {
            self.missing.insert(piece + 1, end);
        }
        true
    }

    fn put_back(&mut self, piece: u32) {
        let is_under_way = self.workers.values().any(|worker| worker.under_way.contains(&piece));
        let exists = (piece as usize) < self.there.len();
        if !exists || is_under_way || self.is_there(piece) {
            return;
        }
        // Already missing where it is within the run before it.
        let before = self.missing.range(..=piece).next_back().map(|(first, end)| (*first, *end));
        if before.is_some_and(|(_, end)| piece < end) {
            return;
        }
        let first = before.filter(|(_, end)| *end == piece).map_or(piece, |(first, _)| first);
        let end = self.missing.remove(&(piece + 1)).unwrap_or(piece + 1);
        self.missing.insert(first, end);
    }
}

impl Worker {
    /// How long it will take for all it has under way, as far as it can be told.
    fn time_left(&self, now: Duration) -> Duration {
        let waiting = now.saturating_sub(self.last_progress);
        let per_piece = self.time_per_piece.unwrap_or_default().max(waiting);
        per_piece * u32::try_from(self.under_way.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::time::Duration;

    use super::{Arrival, Plan, WorkerId};

    const A: WorkerId = WorkerId(0);
    const B: WorkerId = WorkerId(1);

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn bring(plan: &mut Plan, id: WorkerId, run: Range<u32>, now: Duration) {
        for piece in run {
            assert_eq!(plan.arrived(id, piece, now), Arrival::New);
        }
    }

    #[test]
    fn one_worker_brings_every_piece_once() {
        let mut plan = Plan::new(1_000);
        let mut brought = 0;
        while let Some(run) = plan.take(A, at(0)) {
            brought += run.len();
            bring(&mut plan, A, run, at(0));
        }
        assert_eq!(brought, 1_000);
        assert!(plan.is_complete() && Plan::new(0).is_complete());
    }

    #[test]
    fn pieces_of_a_lost_worker_and_bad_pieces_are_handed_out_again() {
        let mut plan = Plan::new(4);
        let lost = plan.take(A, at(0)).unwrap();
        plan.lost(A);
        assert_eq!(plan.take(B, at(0)), Some(lost.clone()));
        plan.failed(B, lost.start);
        bring(&mut plan, B, lost.start + 1..lost.end, at(1));
        while let Some(run) = plan.take(B, at(1)) {
            bring(&mut plan, B, run, at(2));
        }
        assert!(plan.is_complete());
    }

    #[test]
    fn the_tail_of_a_worker_that_stands_still_is_taken_over() {
        let mut plan = Plan::new(2);
        assert_eq!(plan.take(A, at(0)), Some(0..1));
        assert_eq!(plan.take(B, at(0)), Some(1..2));
        bring(&mut plan, B, 1..2, at(10));
        assert_eq!(plan.take(B, at(15)), None, "A may still come in time");
        assert_eq!(plan.take(B, at(1_000)), Some(0..1));
        assert_eq!(plan.arrived(B, 0, at(1_010)), Arrival::New);
        assert_eq!(plan.arrived(A, 0, at(1_020)), Arrival::Duplicate);
    }

    #[test]
    fn pieces_that_are_being_looked_at_are_not_fetched() {
        let mut plan = Plan::new(10);
        plan.reserve(A, [0, 3, 4, 9], at(0));
        let mut fetched = Vec::new();
        while let Some(run) = plan.take(B, at(0)) {
            fetched.extend(run.clone());
            bring(&mut plan, B, run, at(0));
        }
        assert_eq!(fetched, [1, 2, 5, 6, 7, 8]);
        plan.failed(A, 3);
        assert_eq!(plan.take(B, at(0)), Some(3..4));
    }

    #[test]
    fn runs_grow_with_speed_and_shrink_towards_the_end() {
        let mut plan = Plan::new(10_000);
        let first = plan.take(A, at(0)).unwrap();
        for (index, piece) in first.clone().enumerate() {
            plan.arrived(A, piece, at(10 * (index as u64 + 1)));
        }
        assert_eq!(plan.take(A, at(40)).unwrap().len(), 50, "half a second at 10 ms each");
        let mut last = Plan::new(6);
        assert_eq!(last.take(A, at(0)).unwrap().len(), 3);
    }
}
