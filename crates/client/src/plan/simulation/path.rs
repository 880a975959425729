//! A simulated connection: how fast it is, what it damages, and when it stops.

use std::collections::VecDeque;
use std::time::Duration;

use towline_testkit::random::Random;

use crate::retry::{Backoff, Jitter};

/// What becomes of a connection that has brought its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It works to the end.
    Steady,
    /// It is cut.
    Cut,
    /// Nothing comes any more, and nobody notices.
    StandsStill,
    /// Nothing comes any more, which is noticed at last.
    FallsSilent,
}

/// One of the parallel connections, with all its reconnections.
#[derive(Debug)]
pub(super) struct Path {
    /// Counts its connections, so that what was to happen to an earlier one does not.
    pub(super) life: u32,
    pub(super) is_open: bool,
    /// Runs that were asked for, by pieces that are still to come. An empty one is about to end.
    pub(super) asked: VecDeque<VecDeque<u32>>,
    /// Pieces until the fate of this connection.
    pub(super) pieces_left: u64,
    pub(super) fate: Fate,
    is_honest: bool,
    time_per_piece: Duration,
    damages_percent: u64,
    retries: Vec<Duration>,
    jitter: Jitter,
}

impl Path {
    /// An honest one damages nothing and is cut a few times at most.
    pub(super) fn draw(random: &mut Random, is_honest: bool) -> Self {
        let milliseconds = 1 << random.below(12);
        let mut path = Self {
            life: 0,
            is_open: false,
            asked: VecDeque::new(),
            pieces_left: 0,
            fate: Fate::Steady,
            is_honest,
            time_per_piece: Duration::from_millis(milliseconds),
            damages_percent: if is_honest { 0 } else { [0, 0, 0, 30, 100][pick(random, 5)] },
            retries: Vec::new(),
            jitter: Jitter::new(random.next_u64()),
        };
        path.progressed();
        path.draw_fate(random);
        path
    }

    /// What will become of the next connection.
    pub(super) fn draw_fate(&mut self, random: &mut Random) {
        self.pieces_left = random.below(12);
        self.fate = if self.is_honest {
            if self.life < 4 && random.below(3) == 0 { Fate::Cut } else { Fate::Steady }
        } else {
            [Fate::Steady, Fate::Steady, Fate::Cut, Fate::StandsStill, Fate::FallsSilent]
                [pick(random, 5)]
        };
    }

    /// How long the next piece takes.
    pub(super) fn draw_time(&self, random: &mut Random) -> Duration {
        self.time_per_piece * u32::try_from(50 + random.below(100)).unwrap() / 100
    }

    /// Whether the next piece comes damaged.
    pub(super) fn draw_damage(&self, random: &mut Random) -> bool {
        random.below(100) < self.damages_percent
    }

    /// All retries are there again.
    pub(super) fn progressed(&mut self) {
        self.retries = Backoff::default().waits().collect();
        self.retries.reverse();
    }

    /// The wait before the next connection; `None` when it is given up.
    pub(super) fn next_wait(&mut self) -> Option<Duration> {
        let wait = self.retries.pop()?;
        Some(self.jitter.apply(wait))
    }

    /// Every piece that was asked for and has not come.
    pub(super) fn pieces(&self) -> impl Iterator<Item = u32> {
        self.asked.iter().flatten().copied()
    }
}

fn pick(random: &mut Random, count: u64) -> usize {
    usize::try_from(random.below(count)).unwrap()
}
