//! Which connection fetches which pieces: pure, the clock is the caller's.
//!
//! Pieces that are missing are handed out in runs. Pieces of a lost connection go back. When none are missing
//! any more, an idle connection takes over a piece that would take much longer to come where it is under way;
//! whoever brings a piece first has brought it. A damaged piece is left to those who have not tried it yet.

mod runs;
#[cfg(test)]
mod simulation;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use self::runs::Runs;

/// Pieces in the first run of a connection, before its speed is known.
const FIRST_RUN: u32 = 4;

/// Most pieces in a run.
const RUN_MAX: u32 = 64;

/// A run should take about this long on a short path: long enough to hide the way there, short enough to lose little.
/// A piece is thought to take as long at a connection whose speed is not known.
const RUN_TIME: Duration = Duration::from_millis(500);

/// Round trips by which a run is longer on a long path. A connection that runs out of requests is not fast enough to
/// be given more: what it is asked for must last while its rate grows to several times what it was.
const RUN_ROUND_TRIPS: u32 = 8;

/// No piece is asked for twice to save less than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a damaged piece waits for a connection that has not tried it and shows no progress.
const TURN: Duration = Duration::from_secs(10);

/// Tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub u32);

/// The state of a transfer: what is there, what is under way and with whom, what is missing.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pieces: Vec<Piece>,
    there_count: u32,
    /// Every piece that is [`Piece::Missing`].
    missing: Runs,
    workers: BTreeMap<WorkerId, Worker>,
    /// Who brought a piece damaged that is not there yet.
    damaged: BTreeMap<u32, BTreeSet<WorkerId>>,
    take_over: TakeOver,
    run_time: Duration,
}

/// Whether two workers may have one piece under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakeOver {
    /// An idle worker may ask for what a much slower one has not brought yet.
    Allowed,
    /// Every piece is with one worker at a time, as it has to be where pieces are written before they are verified.
    Never,
}

/// Where a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// Nobody has it.
    Missing,
    /// Set aside: it may be there without being fetched.
    Reserved,
    /// At least one worker has been asked for it.
    UnderWay,
    /// It is there, for good.
    There,
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
pub(crate) enum Arrival {
    /// It is the first to come.
    New,
    /// Another connection was faster.
    Duplicate,
}

impl Plan {
    /// All of `count` pieces are missing.
    pub(crate) fn new(count: u32, take_over: TakeOver) -> Self {
        Self {
            take_over,
            run_time: RUN_TIME,
            pieces: vec![Piece::Missing; count as usize],
            there_count: 0,
            missing: Runs::first(count),
            workers: BTreeMap::new(),
            damaged: BTreeMap::new(),
        }
    }

    /// Makes runs as long as the path needs them.
    pub(crate) fn set_round_trip(&mut self, round_trip: Duration) {
        self.run_time = RUN_TIME + round_trip * RUN_ROUND_TRIPS;
    }

    /// Whether every piece is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.there_count as usize == self.pieces.len()
    }

    /// Whether a piece is there.
    pub(crate) fn is_there(&self, piece: u32) -> bool {
        self.state(piece) == Some(Piece::There)
    }

    /// Gives a worker a run of missing pieces; if there are none, one that would come much later from those who
    /// have it. `None` when there is nothing that it could do.
    pub(crate) fn take(&mut self, id: WorkerId, now: Duration) -> Option<Range<u32>> {
        self.workers.entry(id).or_insert_with(|| Worker::new(now));
        let run = match self.next_missing(id, now) {
            Some(run) => {
                self.missing.remove(run.clone());
                self.pieces[run.start as usize..run.end as usize].fill(Piece::UnderWay);
                run
            }
            None if self.take_over == TakeOver::Allowed => self.latest_of_others(id, now)?,
            None => return None,
        };
        let worker = self.workers.get_mut(&id)?;
        if worker.under_way.is_empty() {
            worker.last_progress = now;
        }
        worker.under_way.extend(run.clone());
        Some(run)
    }

    /// Sets pieces aside that may be there without being fetched, until they [arrive](Self::arrived) or are
    /// [released](Self::release); those that are not missing are left out.
    pub(crate) fn reserve(&mut self, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            if self.state(piece) == Some(Piece::Missing) {
                self.missing.remove(piece..piece + 1);
                self.pieces[piece as usize] = Piece::Reserved;
            }
        }
    }

    /// Whether a piece is set aside.
    pub(crate) fn is_reserved(&self, piece: u32) -> bool {
        self.state(piece) == Some(Piece::Reserved)
    }

    /// A piece that was set aside has to be fetched after all.
    pub(crate) fn release(&mut self, piece: u32) {
        if self.state(piece) == Some(Piece::Reserved) {
            self.now_missing(piece);
        }
    }

    /// A verified piece has come, from a worker or from whoever looked at what was set aside.
    pub(crate) fn arrived(&mut self, id: WorkerId, piece: u32, now: Duration) -> Arrival {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.progressed(now);
        }
        match self.state(piece) {
            None | Some(Piece::There) => return Arrival::Duplicate,
            Some(Piece::Missing) => self.missing.remove(piece..piece + 1),
            Some(Piece::Reserved) => {}
            Some(Piece::UnderWay) => {
                for worker in self.workers.values_mut() {
                    worker.forget(piece);
                }
            }
        }
        self.pieces[piece as usize] = Piece::There;
        self.there_count += 1;
        self.damaged.remove(&piece);
        Arrival::New
    }

    /// A piece from a worker was not what it should be: it is missing again, unless another has it under way,
    /// and others are to try it first.
    pub(crate) fn failed(&mut self, id: WorkerId, piece: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.forget(piece);
        }
        if self.state(piece).is_some_and(|state| state != Piece::There) {
            self.damaged.entry(piece).or_default().insert(id);
        }
        self.put_back(piece);
    }

    /// A worker is gone: what it had under way is missing again.
    pub(crate) fn lost(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        for piece in worker.under_way {
            self.put_back(piece);
        }
    }

    fn state(&self, piece: u32) -> Option<Piece> {
        self.pieces.get(piece as usize).copied()
    }

    /// A run from the first missing piece that is for this worker.
    fn next_missing(&self, id: WorkerId, now: Duration) -> Option<Range<u32>> {
        let length = self.run_length(id);
        self.missing.iter().find_map(|run| {
            let first = run.clone().find(|piece| self.is_for(id, *piece, now))?;
            let end = run.end.min(first + length);
            let other = (first..end).find(|piece| !self.is_for(id, *piece, now));
            Some(first..other.unwrap_or(end))
        })
    }

    /// Pieces that fit into the run time; few when few are left, so that all end together.
    fn run_length(&self, id: WorkerId) -> u32 {
        let measured = self.workers.get(&id).and_then(|worker| worker.time_per_piece);
        let fitting = measured.map_or(FIRST_RUN, |time| {
            let fitting = self.run_time.as_nanos() / time.as_nanos().max(1);
            u32::try_from(fitting).unwrap_or(RUN_MAX).clamp(1, RUN_MAX)
        });
        let workers = u32::try_from(self.workers.len().max(1)).unwrap_or(u32::MAX);
        let share = self.missing.count().div_ceil(workers.saturating_mul(2));
        fitting.min(share.max(1))
    }

    /// Whether a worker may try a piece: not if it brought it damaged and another can try.
    fn is_for(&self, id: WorkerId, piece: u32, now: Duration) -> bool {
        let Some(tried) = self.damaged.get(&piece) else { return true };
        let can_try = |(other, worker): (&WorkerId, &Worker)| {
            !tried.contains(other) && worker.waiting(now) < TURN
        };
        !tried.contains(&id) || !self.workers.iter().any(can_try)
    }

    /// Of all that is under way the piece that would come last, if `id` would have it much sooner.
    fn latest_of_others(&self, id: WorkerId, now: Duration) -> Option<Range<u32>> {
        let mut soonest = BTreeMap::new();
        for worker in self.workers.values() {
            for (ahead, &piece) in worker.under_way.iter().enumerate() {
                let time = worker.time_until(ahead, now);
                let known = soonest.entry(piece).or_insert(time);
                *known = time.min(*known);
            }
        }
        let (piece, time) = soonest
            .into_iter()
            .filter(|(piece, _)| self.is_for(id, *piece, now))
            .max_by_key(|(_, time)| *time)?;
        // What it has itself comes sooner than one more would, and is never taken.
        let my_time = self.workers.get(&id)?.time_for_one_more(now);
        (time >= PATIENCE && my_time * 2 < time).then_some(piece..piece + 1)
    }

    fn put_back(&mut self, piece: u32) {
        let is_held = self.workers.values().any(|worker| worker.under_way.contains(&piece));
        if self.state(piece) == Some(Piece::UnderWay) && !is_held {
            self.now_missing(piece);
        }
    }

    fn now_missing(&mut self, piece: u32) {
        self.pieces[piece as usize] = Piece::Missing;
        self.missing.insert(piece);
    }
}

impl Worker {
    fn new(now: Duration) -> Self {
        Self { under_way: VecDeque::new(), last_progress: now, time_per_piece: None }
    }

    /// A piece came.
    fn progressed(&mut self, now: Duration) {
        let took = self.waiting(now);
        let smoothed = self.time_per_piece.map_or(took, |before| (before * 3 + took) / 4);
        self.time_per_piece = Some(smoothed);
        self.last_progress = now;
    }

    /// The worker is no longer expected to bring this piece.
    fn forget(&mut self, piece: u32) {
        if let Some(position) = self.under_way.iter().position(|&other| other == piece) {
            self.under_way.remove(position);
        }
    }

    fn waiting(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last_progress)
    }

    /// How long until it brings a piece with `ahead` others before it, as far as can be told. That it stands still
    /// counts once: all do now and then on a busy machine, and bring what they have at once afterwards.
    fn time_until(&self, ahead: usize, now: Duration) -> Duration {
        let one = self.time_per_piece.unwrap_or_default();
        times(one, ahead) + one.max(self.waiting(now))
    }

    /// How long until it would bring one piece more.
    fn time_for_one_more(&self, now: Duration) -> Duration {
        let one = self.time_per_piece.unwrap_or(RUN_TIME);
        match self.under_way.len() {
            0 => one,
            ahead => times(one.max(self.waiting(now)), ahead + 1),
        }
    }
}

fn times(per_piece: Duration, pieces: usize) -> Duration {
    per_piece.saturating_mul(u32::try_from(pieces).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::time::Duration;

    use super::{Arrival, Plan, TakeOver, WorkerId};

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
        let mut plan = Plan::new(1_000, TakeOver::Allowed);
        let mut brought = 0;
        while let Some(run) = plan.take(A, at(0)) {
            brought += run.len();
            bring(&mut plan, A, run, at(0));
        }
        assert_eq!(brought, 1_000);
        assert!(plan.is_complete() && Plan::new(0, TakeOver::Allowed).is_complete());
    }

    #[test]
    fn pieces_of_a_lost_worker_and_bad_pieces_are_handed_out_again() {
        let mut plan = Plan::new(4, TakeOver::Allowed);
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
        let mut plan = Plan::new(2, TakeOver::Allowed);
        assert_eq!(plan.take(A, at(0)), Some(0..1));
        assert_eq!(plan.take(B, at(0)), Some(1..2));
        bring(&mut plan, B, 1..2, at(10));
        assert_eq!(plan.take(B, at(15)), None, "A may still come in time");
        assert_eq!(plan.take(B, at(1_000)), Some(0..1));
        assert_eq!(plan.arrived(B, 0, at(1_010)), Arrival::New);
        assert_eq!(plan.arrived(A, 0, at(1_020)), Arrival::Duplicate);
    }

    #[test]
    fn a_moment_without_progress_counts_once_and_not_for_each_piece() {
        let mut plan = Plan::new(16, TakeOver::Allowed);
        assert_eq!(plan.take(A, at(0)), Some(0..4));
        while let Some(run) = plan.take(B, at(10)) {
            bring(&mut plan, B, run, at(10));
        }
        assert_eq!(plan.take(B, at(900)), None, "A may bring all of its pieces in a moment");
        assert_eq!(plan.take(B, at(1_000)), Some(3..4));
    }

    #[test]
    fn pieces_that_are_being_looked_at_are_not_fetched() {
        let mut plan = Plan::new(10, TakeOver::Allowed);
        plan.reserve([0, 3, 4, 9, 10]);
        let mut fetched = Vec::new();
        while let Some(run) = plan.take(B, at(0)) {
            fetched.extend(run.clone());
            bring(&mut plan, B, run, at(0));
        }
        assert_eq!(fetched, [1, 2, 5, 6, 7, 8]);
        plan.release(3);
        assert_eq!(plan.take(B, at(9_000)), Some(3..4));
        assert_eq!(plan.arrived(A, 4, at(9_000)), Arrival::New);
        assert_eq!(plan.take(B, at(9_000)), None, "what is being looked at is not taken over");
    }

    #[test]
    fn a_damaged_piece_goes_to_another_worker_while_there_is_one() {
        let mut plan = Plan::new(2, TakeOver::Allowed);
        assert_eq!(plan.take(A, at(0)), Some(0..1));
        assert_eq!(plan.take(B, at(0)), Some(1..2));
        plan.failed(A, 0);
        assert_eq!(plan.take(A, at(1)), None, "B has not tried");
        assert_eq!(plan.take(B, at(1)), Some(0..1));
        plan.failed(B, 0);
        assert_eq!(plan.take(A, at(2)), Some(0..1), "all have tried");
        plan.failed(A, 0);
        plan.lost(B);
        assert_eq!(plan.take(A, at(3)), Some(0..1), "nobody else is there");
    }

    #[test]
    fn a_damaged_piece_does_not_wait_for_ever_for_a_worker_that_stands_still() {
        let mut plan = Plan::new(2, TakeOver::Allowed);
        assert_eq!(plan.take(A, at(0)), Some(0..1));
        assert_eq!(plan.take(B, at(0)), Some(1..2));
        plan.failed(A, 0);
        assert_eq!(plan.take(A, at(20_000)), Some(0..1));
    }

    #[test]
    fn a_piece_that_was_taken_over_is_not_taken_over_again_while_it_is_coming() {
        let mut plan = Plan::new(3, TakeOver::Allowed);
        let c = WorkerId(2);
        assert_eq!(plan.take(A, at(0)), Some(0..2));
        assert_eq!(plan.take(B, at(0)), Some(2..3));
        bring(&mut plan, B, 2..3, at(100));
        assert_eq!(plan.take(B, at(1_000)), Some(1..2));
        assert_eq!(plan.take(B, at(1_000)), Some(0..1));
        assert_eq!(plan.take(c, at(1_000)), None);
        assert_eq!(plan.take(c, at(3_000)), Some(0..1), "B stands still as well");
    }

    #[test]
    fn runs_grow_with_speed_and_shrink_towards_the_end() {
        let mut plan = Plan::new(10_000, TakeOver::Allowed);
        let first = plan.take(A, at(0)).unwrap();
        for (index, piece) in first.clone().enumerate() {
            plan.arrived(A, piece, at(10 * (index as u64 + 1)));
        }
        assert_eq!(plan.take(A, at(40)).unwrap().len(), 50, "half a second at 10 ms each");
        let mut far = Plan::new(10_000, TakeOver::Allowed);
        far.set_round_trip(at(50));
        let first = far.take(A, at(0)).unwrap();
        for (index, piece) in first.enumerate() {
            far.arrived(A, piece, at(20 * (index as u64 + 1)));
        }
        assert_eq!(far.take(A, at(80)).unwrap().len(), 45, "900 ms at 20 ms each");
        let mut last = Plan::new(6, TakeOver::Allowed);
        assert_eq!(last.take(A, at(0)).unwrap().len(), 3);
    }
}
