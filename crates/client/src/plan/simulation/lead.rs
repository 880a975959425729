//! The simulated process: leads as `native::transfer` does, with its clock, its disk and its journal.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use towline_proto::native::message::Version;
use towline_proto::piece::PieceHash;
use towline_testkit::random::Random;

use super::path::{Fate, Path};
use crate::journal;
use crate::plan::{Arrival, FIRST_RUN, Piece, Plan, TURN, TakeOver, WorkerId};

const KEEPER: WorkerId = WorkerId(u32::MAX);
const RUNS_AHEAD: usize = 2;
const TICK: Duration = Duration::from_millis(100);

/// Ticks grow rarer up to this while nothing happens, to keep the simulation short.
const TICK_MAX: Duration = Duration::from_secs(5);

/// How long a silent connection is believed.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// How long the slowest transfer may take.
const TIME_MAX: Duration = Duration::from_hours(1);

/// How often one piece may come damaged before the transfer is given up.
const DAMAGES_MAX: u32 = 5;

/// What happened in a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) is_complete: bool,
    /// No connection stood still or was lost, nothing was damaged.
    pub(super) is_untroubled: bool,
    pub(super) taken_over: u32,
    pub(super) duplicates: u32,
    pub(super) damaged: u32,
    pub(super) lost: u32,
    pub(super) kept: u32,
    pub(super) released: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Opened(usize, u32),
    Piece(usize, u32),
    Lost(usize, u32),
    Kept(u32),
    Tick,
}

/// A transfer across the deaths of its process.
pub(super) struct Transfer {
    seed: u64,
    random: Random,
    has_honest: bool,
    count: u32,
    /// Whether the unfinished file holds the right bytes of each piece.
    disk: Vec<bool>,
    journal: Vec<u8>,
    plan: Plan,
    paths: Vec<Path>,
    idle: BTreeSet<usize>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    scheduled: u64,
    now: Duration,
    tick: Duration,
    /// What this process has verified.
    verified: BTreeSet<u32>,
    /// What the journal names and is intact on disk: never to be fetched.
    intact: BTreeSet<u32>,
    damages: BTreeMap<u32, u32>,
    /// Which path has brought which piece damaged.
    damaged_by: BTreeSet<(u32, usize)>,
    is_given_up: bool,
    /// What had happened when this process began.
    before: Outcome,
    /// Where the record of each verified piece ends in the journal.
    recorded: Vec<(usize, u32)>,
    outcome: Outcome,
}

fn version() -> Version {
    Version::new(b"simulated").unwrap()
}

fn hash_of(piece: u32) -> PieceHash {
    PieceHash([u8::try_from(piece).unwrap(); 32])
}

impl Transfer {
    pub(super) fn new(seed: u64, count: u32, random: &mut Random) -> Self {
        let mut transfer = Self {
            seed,
            random: Random::from_seed(random.next_u64()),
            has_honest: random.below(8) > 0,
            count,
            disk: vec![false; count as usize],
            journal: journal::encode_source(&version(), u64::from(count)),
            plan: Plan::new(count, TakeOver::Allowed),
            paths: Vec::new(),
            idle: BTreeSet::new(),
            events: BinaryHeap::new(),
            scheduled: 0,
            now: Duration::ZERO,
            tick: TICK,
            verified: BTreeSet::new(),
            intact: BTreeSet::new(),
            damages: BTreeMap::new(),
            damaged_by: BTreeSet::new(),
            is_given_up: false,
            before: Outcome::default(),
            recorded: Vec::new(),
            outcome: Outcome::default(),
        };
        transfer.start();
        transfer
    }

    /// Runs until all is there, nothing more can happen, or so many events are over.
    pub(super) fn run(&mut self, events_max: Option<u64>) -> Outcome {
        let mut events = 0;
        while !self.plan.is_complete() && events_max.is_none_or(|max| events < max) {
            if self.is_given_up {
                break;
            }
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            if at > TIME_MAX {
                break;
            }
            self.now = at;
            self.happen(event);
            self.check();
            events += 1;
        }
        self.outcome.is_complete = self.plan.is_complete();
        self.check_duplicates();
        if self.outcome.is_complete {
            assert!(self.disk.iter().all(|intact| *intact), "seed {}: damage stays", self.seed);
        } else if events_max.is_none() && !self.is_given_up {
            assert!(!self.has_honest, "seed {}: not complete: {:?}", self.seed, self.plan);
        }
        self.outcome
    }

    /// Only what was taken over can come twice, and where nothing goes wrong at most the runs that a connection
    /// was asked for before its speed was known.
    fn check_duplicates(&mut self) {
        let (before, all, seed) = (self.before, self.outcome, self.seed);
        assert!(all.duplicates <= all.taken_over, "seed {seed}: {all:?}");
        let is_steady = self.paths.iter().all(|path| path.fate == Fate::Steady);
        let is_untroubled = is_steady && (all.damaged, all.lost) == (before.damaged, before.lost);
        self.outcome.is_untroubled = is_untroubled;
        let duplicates = (all.duplicates - before.duplicates) as usize;
        let bound = self.paths.len() * RUNS_AHEAD * FIRST_RUN as usize;
        assert!(!is_untroubled || duplicates <= bound, "seed {seed}: {duplicates} of {bound}");
    }

    /// The process dies: what it knew is gone, the journal is torn, some of the disk is lost. Another resumes.
    pub(super) fn crash(&mut self) {
        if self.random.below(2) == 0 {
            let end = self.random.below(self.journal.len() as u64 + 1);
            self.journal.truncate(usize::try_from(end).unwrap());
        }
        for piece in &mut self.disk {
            *piece &= self.random.below(16) > 0;
        }
        self.start();
    }

    fn start(&mut self) {
        self.plan = Plan::new(self.count, TakeOver::Allowed);
        self.events.clear();
        self.idle.clear();
        self.verified.clear();
        self.damages.clear();
        self.damaged_by.clear();
        self.is_given_up = false;
        self.before = self.outcome;
        self.now = Duration::ZERO;
        let kept = self.resume_journal();
        self.intact = kept.iter().copied().filter(|piece| self.disk[*piece as usize]).collect();
        self.plan.reserve(kept.iter().copied());
        let mut at = Duration::ZERO;
        for piece in kept {
            at += Duration::from_millis(1 + self.random.below(1_000));
            self.schedule(at, Event::Kept(piece));
        }
        let workers = 1 + self.random.below(8);
        self.paths = (0..workers)
            .map(|index| Path::draw(&mut self.random, self.has_honest && index == 0))
            .collect();
        for index in 0..self.paths.len() {
            let opening = Duration::from_millis(self.random.below(300));
            self.schedule(opening, Event::Opened(index, 0));
        }
        self.tick = TICK;
        self.schedule(TICK, Event::Tick);
    }

    /// What the journal names; it goes on where it is whole.
    fn resume_journal(&mut self) -> BTreeSet<u32> {
        self.recorded.retain(|(end, _)| *end <= self.journal.len());
        let Some(decoded) = journal::decode(&self.journal[..]).expect("bytes are read") else {
            assert!(self.recorded.is_empty(), "seed {}: forgotten", self.seed);
            self.journal = journal::encode_source(&version(), u64::from(self.count));
            return BTreeSet::new();
        };
        assert_eq!((&decoded.version, decoded.file_bytes), (&version(), u64::from(self.count)));
        assert!(decoded.pieces.iter().all(|(piece, hash)| hash == hash_of(piece)));
        self.journal.truncate(usize::try_from(decoded.whole_bytes).expect("no longer than it is"));
        let recorded: BTreeSet<_> = self.recorded.iter().map(|(_, piece)| *piece).collect();
        assert!(
            decoded.pieces.iter().map(|(piece, _)| piece).eq(recorded.iter().copied()),
            "seed {}: {recorded:?}",
            self.seed
        );
        recorded
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Opened(index, life) if self.paths[index].life == life => self.opened(index),
            Event::Piece(index, life) if self.paths[index].life == life => self.piece(index),
            Event::Lost(index, life) if self.paths[index].life == life => self.lost(index),
            Event::Kept(piece) => self.kept(piece),
            Event::Tick => {
                self.supply_idle();
                self.tick = (self.tick * 2).min(TICK_MAX);
                self.schedule(self.now + self.tick, Event::Tick);
            }
            // Of an earlier connection.
            _ => {}
        }
    }

    fn opened(&mut self, index: usize) {
        self.paths[index].is_open = true;
        if self.paths[index].pieces_left == 0 && self.paths[index].fate == Fate::Cut {
            return self.lost(index);
        }
        for _ in 0..RUNS_AHEAD {
            self.supply(index);
        }
    }

    /// As `native::transfer` does it: gives a run, or notes that there is none.
    fn supply(&mut self, index: usize) {
        if self.paths[index].asked.len() >= RUNS_AHEAD {
            return;
        }
        let id = worker_id(index);
        let Some(run) = self.plan.take(id, self.now) else {
            self.idle.insert(index);
            return;
        };
        self.idle.remove(&index);
        for piece in run.clone() {
            self.check_taken(index, piece);
        }
        let was_waiting = self.paths[index].asked.is_empty();
        self.paths[index].asked.push_back(run.collect());
        if was_waiting {
            self.fetch_next(index);
        }
    }

    fn check_taken(&mut self, index: usize, piece: u32) {
        let seed = self.seed;
        assert!(piece < self.count, "seed {seed}: no such piece as {piece}");
        assert!(!self.verified.contains(&piece), "seed {seed}: {piece} is there");
        assert!(!self.intact.contains(&piece), "seed {seed}: {piece} was kept");
        assert!(
            self.paths[index].pieces().all(|other| other != piece),
            "seed {seed}: {index} has {piece} under way"
        );
        let honest = self.plan.workers.get(&worker_id(0)).filter(|_| self.has_honest);
        assert!(
            !self.damaged_by.contains(&(piece, index))
                || honest.is_none_or(|honest| honest.waiting(self.now) >= TURN),
            "seed {seed}: {index} gets {piece} again, which it damaged"
        );
        if self.paths.iter().any(|path| path.is_open && path.pieces().any(|other| other == piece)) {
            self.outcome.taken_over += 1;
        }
    }

    /// What the connection does next: brings a piece, or meets its fate.
    fn fetch_next(&mut self, index: usize) {
        let path = &self.paths[index];
        let (life, time) = (path.life, path.draw_time(&mut self.random));
        if path.pieces_left > 0 || path.fate == Fate::Steady {
            return self.schedule(self.now + time, Event::Piece(index, life));
        }
        match path.fate {
            Fate::Steady | Fate::StandsStill => {}
            Fate::Cut => self.schedule(self.now + time, Event::Lost(index, life)),
            Fate::FallsSilent => self.schedule(self.now + SILENCE_MAX, Event::Lost(index, life)),
        }
    }

    fn piece(&mut self, index: usize) {
        self.tick = TICK;
        let path = &mut self.paths[index];
        path.pieces_left = path.pieces_left.saturating_sub(1);
        path.progressed();
        let piece = path.asked.front_mut().and_then(VecDeque::pop_front).expect("asked for");
        if path.draw_damage(&mut self.random) {
            self.damaged(index, piece);
        } else {
            self.disk[piece as usize] = true;
            self.arrived(worker_id(index), piece);
        }
        if self.paths[index].asked.front().is_some_and(VecDeque::is_empty) {
            self.paths[index].asked.pop_front();
            // The next run is under way already, unless there is none.
            let is_waiting = self.paths[index].asked.is_empty();
            self.supply(index);
            if is_waiting {
                return;
            }
        }
        self.fetch_next(index);
    }

    fn damaged(&mut self, index: usize, piece: u32) {
        self.outcome.damaged += 1;
        self.plan.failed(worker_id(index), piece);
        self.supply_idle();
        let damages = self.damages.entry(piece).or_default();
        *damages += 1;
        self.is_given_up |= *damages > DAMAGES_MAX;
        self.damaged_by.insert((piece, index));
    }

    fn arrived(&mut self, id: WorkerId, piece: u32) {
        let expected = if self.verified.insert(piece) { Arrival::New } else { Arrival::Duplicate };
        assert_eq!(self.plan.arrived(id, piece, self.now), expected, "seed {}", self.seed);
        if expected == Arrival::Duplicate {
            self.outcome.duplicates += 1;
        } else if id == KEEPER {
            self.outcome.kept += 1;
        } else {
            self.journal.extend(journal::encode_piece(piece, hash_of(piece)));
            self.recorded.push((self.journal.len(), piece));
        }
    }

    fn kept(&mut self, piece: u32) {
        if self.disk[piece as usize] {
            self.arrived(KEEPER, piece);
        } else {
            self.outcome.released += 1;
            self.plan.release(piece);
            self.supply_idle();
        }
    }

    fn lost(&mut self, index: usize) {
        self.outcome.lost += 1;
        self.plan.lost(worker_id(index));
        self.idle.remove(&index);
        let path = &mut self.paths[index];
        path.asked.clear();
        path.is_open = false;
        path.life += 1;
        path.draw_fate(&mut self.random);
        let life = path.life;
        if let Some(wait) = path.next_wait() {
            self.schedule(self.now + wait, Event::Opened(index, life));
        }
    }

    fn supply_idle(&mut self) {
        for index in self.idle.clone() {
            self.supply(index);
        }
    }

    /// What holds after every event.
    fn check(&self) {
        let seed = self.seed;
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        for (id, worker) in &self.plan.workers {
            let path = &self.paths[id.0 as usize];
            for piece in &worker.under_way {
                *held.entry(*piece).or_default() += 1;
                let is_asked = path.pieces().any(|asked| asked == *piece);
                assert!(is_asked, "seed {seed}: nobody asked {id:?} for {piece}");
            }
        }
        let mut missing = vec![false; self.count as usize];
        let mut end_before = None;
        for run in self.plan.missing.iter() {
            assert!(!run.is_empty() && end_before.is_none_or(|end| end < run.start), "seed {seed}");
            end_before = Some(run.end);
            missing[run.start as usize..run.end as usize].fill(true);
        }
        let counted = missing.iter().filter(|missing| **missing).count();
        assert_eq!(counted, self.plan.missing.count() as usize, "seed {seed}");
        for (piece, state) in (0..).zip(&self.plan.pieces) {
            let is_there = self.verified.contains(&piece);
            assert_eq!(is_there, *state == Piece::There, "seed {seed}: {piece} {state:?}");
            assert_eq!(missing[piece as usize], *state == Piece::Missing, "seed {seed}: {piece}");
            let is_held = held.contains_key(&piece);
            assert_eq!(is_held, *state == Piece::UnderWay, "seed {seed}: {piece} {state:?}");
        }
        assert_eq!(self.plan.is_complete(), self.verified.len() == self.count as usize);
    }
}

fn worker_id(index: usize) -> WorkerId {
    WorkerId(u32::try_from(index).unwrap())
}
