//! What shall go wrong on one connection, and at which byte.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::random::Random;

/// The most bytes that a [`FaultKind::Duplicate`] repeats; longer ones are cut to it. They are kept
/// in memory.
pub const DUPLICATE_BYTES_MAX: u64 = 1 << 20;

/// Which way bytes travel through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// One thing that goes wrong in one direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The direction whose bytes are counted, and in which the fault strikes.
    pub direction: Direction,
    /// The offset of the first byte that the fault concerns: this many bytes pass before it.
    ///
    /// It strikes as soon as they have passed, whether or not another byte comes; where fewer come,
    /// never.
    pub at_byte: u64,
    /// What happens.
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Resets both sides. A reset overtakes what lies in buffers: a slow reader may see fewer
    /// bytes.
    Cut,
    /// Closes both sides in order: each reads what was forwarded, and then the end.
    Close,
    /// Nothing more passes in this direction, not even its end; both sides stay open until the
    /// proxy is dropped, or the other direction is reset.
    Stall,
    /// Nothing passes in this direction for a while.
    Pause(Duration),
    /// Nothing passes in this direction until the gate is opened; then all goes on.
    Hold(Gate),
    /// Changes the byte at the offset.
    Flip {
        /// The bits that are inverted.
        mask: u8,
    },
    /// From here on bytes pass at this rate at most; a later one replaces it.
    Throttle {
        /// The rate in bytes per second; 0 counts as 1.
        bytes_per_s: u64,
    },
    /// Sends the bytes right before the offset once more.
    Duplicate {
        /// How many bytes, at most [`DUPLICATE_BYTES_MAX`] and no more than have passed.
        length: u64,
    },
}

/// Holds connections until a test has done what is to happen in their midst. A clone is the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything pass, now and from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        let mut state = self.0.subscribe();
        state.wait_for(|is_open| *is_open).await.expect("the gate holds the sender");
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Gate {}

/// What a server has said on a connection, before any fault struck. A clone is the same recording.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<u8>>>);

impl Recording {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that was said so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    pub(super) fn append(&self, chunk: &[u8]) {
        self.lock().extend_from_slice(chunk);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Recording {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Recording {}

/// All faults of one connection. Those at the same byte strike in the order in which they were
/// added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    faults: Vec<Fault>,
    recording: Option<Recording>,
}

impl Plan {
    /// Everything passes unharmed.
    pub fn clean() -> Self {
        Self::default()
    }

    /// The plan with one fault more.
    #[must_use]
    pub fn with(mut self, direction: Direction, at_byte: u64, kind: FaultKind) -> Self {
        self.faults.push(Fault { direction, at_byte, kind });
        self
    }

    /// The plan with a recording, in memory, of all that the server says.
    #[must_use]
    pub fn recorded(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    pub(super) fn recording(&self, direction: Direction) -> Option<&Recording> {
        self.recording.as_ref().filter(|_| direction == Direction::ToClient)
    }

    /// Draws one to three faults for a stream of about `length_bytes` bytes.
    ///
    /// Half of the offsets are spread evenly over the stream, half over its orders of magnitude:
    /// those hit requests and headers, which are short. Delays are below 0.2 s, and a rate is such
    /// that the stream takes at most 2 s, so that thousands of seeds can be tried.
    pub fn from_seed(seed: u64, length_bytes: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let count = 1 + random.below(3);
        (0..count).fold(Self::clean(), |plan, _| {
            let direction = match random.below(2) {
                0 => Direction::ToServer,
                _ => Direction::ToClient,
            };
            let at_byte = draw_offset(&mut random, length_bytes);
            let kind = draw_kind(&mut random, length_bytes);
            plan.with(direction, at_byte, kind)
        })
    }

    /// The faults, in the order in which they were added.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

fn draw_offset(random: &mut Random, length_bytes: u64) -> u64 {
    let bound = match random.below(2) {
        0 => length_bytes,
        _ => length_bytes >> random.below(u64::from(length_bytes.max(1).ilog2()) + 1),
    };
    random.below(bound)
}

fn draw_kind(random: &mut Random, length_bytes: u64) -> FaultKind {
    match random.below(7) {
        0 => FaultKind::Cut,
        1 => FaultKind::Close,
        2 => FaultKind::Stall,
        3 => FaultKind::Pause(Duration::from_millis(random.below(200))),
        4 => FaultKind::Flip { mask: 1 << random.below(8) },
        5 => FaultKind::Throttle { bytes_per_s: length_bytes / 2 + 1 + random.below(length_bytes) },
        _ => FaultKind::Duplicate { length: 1 + random.below(4_096) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_the_whole_plan() {
        assert_eq!(Plan::from_seed(3, 1 << 20), Plan::from_seed(3, 1 << 20));
        assert_ne!(Plan::from_seed(3, 1 << 20), Plan::from_seed(4, 1 << 20));
    }

    #[test]
    fn drawn_faults_are_one_to_three_within_the_stream() {
        for seed in 0..10_000 {
            let plan = Plan::from_seed(seed, 5_000);
            assert!((1..=3).contains(&plan.faults().len()), "seed {seed}: {plan:?}");
            assert!(
                plan.faults().iter().all(|fault| fault.at_byte < 5_000),
                "seed {seed}: {plan:?}"
            );
        }
    }

    #[test]
    fn every_kind_in_both_directions_is_drawn() {
        let faults: Vec<Fault> =
            (0..500).flat_map(|seed| Plan::from_seed(seed, 5_000).faults).collect();
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut kinds: Vec<_> = faults
                .iter()
                .filter(|fault| fault.direction == direction)
                .map(|fault| format!("{:?}", std::mem::discriminant(&fault.kind)))
                .collect();
            kinds.sort();
            kinds.dedup();
            assert_eq!(kinds.len(), 7, "{direction:?}");
        }
    }

    #[test]
    fn a_stream_of_no_bytes_has_plans_too() {
        for seed in 0..100 {
            assert!(Plan::from_seed(seed, 0).faults().iter().all(|fault| fault.at_byte == 0));
        }
    }
}
