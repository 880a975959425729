//! What a plan does to one direction's bytes: a pure function, free of sockets and clocks.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::plan::{DUPLICATE_BYTES_MAX, Direction, FaultKind, Gate, Plan};

/// One thing for the relay to do. After `Stall`, `Cut` and `Close` nothing follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Sends this range of the chunk.
    Forward(Range<usize>),
    /// Sends these bytes, which have passed before.
    Repeat(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Waits until the gate is open.
    Hold(Gate),
    /// Keeps to this rate from now on.
    Throttle { bytes_per_s: u64 },
    /// Sends nothing more, and keeps the connection open.
    Stall,
    /// Resets both sides.
    Cut,
    /// Closes both sides in order.
    Close,
}

/// Counts the bytes of one direction, and strikes at the offsets of the plan.
#[derive(Debug)]
pub(super) struct Injector {
    /// How many bytes have come so far.
    offset: u64,
    /// The bytes to change, as (offset, mask).
    flips: Vec<(u64, u8)>,
    /// The other faults that are still to come, by offset.
    strikes: VecDeque<Strike>,
    /// Whether a stall, a cut or a close has struck.
    over: bool,
}

#[derive(Debug)]
struct Strike {
    at_byte: u64,
    kind: FaultKind,
    /// For a duplicate, the bytes before `at_byte` that have passed already.
    record: Vec<u8>,
}

impl Injector {
    /// The injector of the plan's faults in one direction, before its first byte.
    pub(super) fn new(plan: &Plan, direction: Direction) -> Self {
        let mut flips = Vec::new();
        let mut strikes = Vec::new();
        for fault in plan.faults().iter().filter(|fault| fault.direction == direction) {
            let at_byte = fault.at_byte;
            match &fault.kind {
                FaultKind::Flip { mask } => flips.push((at_byte, *mask)),
                kind => strikes.push(Strike { at_byte, kind: kind.clone(), record: Vec::new() }),
            }
        }
        strikes.sort_by_key(|strike| strike.at_byte);
        Self { offset: 0, flips, strikes: strikes.into(), over: false }
    }

    /// What to do with the next bytes of the stream, some of which may be changed in place.
    ///
    /// An empty chunk strikes what is due now: at the start of a stream, the faults at byte 0.
    pub(super) fn pass(&mut self, chunk: &mut [u8]) -> Vec<Action> {
        self.flip(chunk);
        let mut actions = Vec::new();
        let mut start = 0;
        loop {
            self.strike(&mut actions);
            if self.over || start == chunk.len() {
                return actions;
            }
            let end = start + self.undisturbed(chunk.len() - start);
            self.record(&chunk[start..end]);
            self.offset += (end - start) as u64;
            actions.push(Action::Forward(start..end));
            start = end;
        }
    }

    fn flip(&self, chunk: &mut [u8]) {
        for (at_byte, mask) in &self.flips {
            let index =
                at_byte.checked_sub(self.offset).and_then(|ahead| usize::try_from(ahead).ok());
            if let Some(byte) = index.and_then(|index| chunk.get_mut(index)) {
                *byte ^= mask;
            }
        }
    }

    /// How many of the next `length` bytes pass before the next fault strikes.
    fn undisturbed(&self, length: usize) -> usize {
        let ahead = self.strikes.front().map(|next| next.at_byte - self.offset);
        ahead
            .and_then(|ahead| usize::try_from(ahead).ok())
            .map_or(length, |ahead| ahead.min(length))
    }

    /// Carries out the faults that are due at the present offset.
    fn strike(&mut self, actions: &mut Vec<Action>) {
        let offset = self.offset;
        while !self.over
            && let Some(due) = self.strikes.pop_front_if(|next| next.at_byte == offset)
        {
            self.over = matches!(due.kind, FaultKind::Cut | FaultKind::Close | FaultKind::Stall);
            actions.push(match due.kind {
                FaultKind::Cut => Action::Cut,
                FaultKind::Close => Action::Close,
                FaultKind::Stall => Action::Stall,
                FaultKind::Pause(duration) => Action::Pause(duration),
                FaultKind::Hold(gate) => Action::Hold(gate),
                FaultKind::Throttle { bytes_per_s } => Action::Throttle { bytes_per_s },
                FaultKind::Duplicate { .. } => Action::Repeat(due.record),
                FaultKind::Flip { .. } => unreachable!("flips are kept apart"),
            });
        }
    }

    /// Keeps what a duplicate to come will send again. `passed` ends at or before the next strike.
    fn record(&mut self, passed: &[u8]) {
        for strike in &mut self.strikes {
            let FaultKind::Duplicate { length } = strike.kind else {
                continue;
            };
            let first = strike.at_byte.saturating_sub(length.min(DUPLICATE_BYTES_MAX));
            let skipped = first.saturating_sub(self.offset);
            let skipped =
                usize::try_from(skipped).map_or(passed.len(), |bytes| bytes.min(passed.len()));
            strike.record.extend_from_slice(&passed[skipped..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"0123456789abcdef";

    /// Runs the stream through in chunks of `size`; returns what was sent and what else was done,
    /// with the number of bytes sent before it.
    fn run(plan: &Plan, size: usize) -> (Vec<u8>, Vec<(usize, Action)>) {
        let mut injector = Injector::new(plan, Direction::ToClient);
        let (mut sent, mut done) = (Vec::new(), Vec::new());
        for chunk in std::iter::once(&[][..]).chain(STREAM.chunks(size)) {
            let mut chunk = chunk.to_vec();
            for action in injector.pass(&mut chunk) {
                match action {
                    Action::Forward(range) => sent.extend_from_slice(&chunk[range]),
                    Action::Repeat(bytes) => sent.extend_from_slice(&bytes),
                    other => done.push((sent.len(), other)),
                }
            }
        }
        (sent, done)
    }

    /// The same outcome however the stream is cut into chunks.
    fn run_in_all_sizes(plan: &Plan) -> (Vec<u8>, Vec<(usize, Action)>) {
        let whole = run(plan, STREAM.len());
        for size in 1..STREAM.len() {
            assert_eq!(run(plan, size), whole, "chunks of {size}");
        }
        whole
    }

    fn plan(at_byte: u64, kind: FaultKind) -> Plan {
        Plan::clean().with(Direction::ToClient, at_byte, kind)
    }

    #[test]
    fn a_clean_plan_changes_nothing() {
        assert_eq!(run_in_all_sizes(&Plan::clean()), (STREAM.to_vec(), vec![]));
    }

    #[test]
    fn faults_of_the_other_direction_do_nothing() {
        let other = Plan::clean().with(Direction::ToServer, 3, FaultKind::Cut);
        assert_eq!(run_in_all_sizes(&other), (STREAM.to_vec(), vec![]));
    }

    #[test]
    fn an_end_strikes_at_every_byte_exactly() {
        let ends = [
            (FaultKind::Cut, Action::Cut),
            (FaultKind::Close, Action::Close),
            (FaultKind::Stall, Action::Stall),
        ];
        for (kind, action) in ends {
            for at in 0..=STREAM.len() {
                let (sent, done) = run_in_all_sizes(&plan(at as u64, kind.clone()));
                assert_eq!(sent, STREAM[..at]);
                assert_eq!(done.len(), 1);
                assert_eq!((done[0].0, &done[0].1), (at, &action));
            }
        }
    }

    #[test]
    fn a_fault_beyond_the_end_never_strikes() {
        let beyond = plan(STREAM.len() as u64 + 1, FaultKind::Cut);
        assert_eq!(run_in_all_sizes(&beyond), (STREAM.to_vec(), vec![]));
        assert_eq!(run_in_all_sizes(&plan(u64::MAX, FaultKind::Flip { mask: 1 })).0, STREAM);
    }

    #[test]
    fn a_flip_changes_one_byte() {
        let (sent, _) = run_in_all_sizes(&plan(10, FaultKind::Flip { mask: 0x20 }));
        assert_eq!(sent, b"0123456789Abcdef");
    }

    #[test]
    fn a_flip_of_the_byte_at_a_cut_is_not_sent() {
        let both =
            plan(4, FaultKind::Flip { mask: 0xFF }).with(Direction::ToClient, 4, FaultKind::Cut);
        assert_eq!(run_in_all_sizes(&both).0, b"0123");
    }

    #[test]
    fn a_duplicate_repeats_the_bytes_before_it() {
        let (sent, _) = run_in_all_sizes(&plan(6, FaultKind::Duplicate { length: 4 }));
        assert_eq!(sent, b"01234523456789abcdef");
    }

    #[test]
    fn a_duplicate_repeats_no_more_than_has_passed() {
        let (sent, _) = run_in_all_sizes(&plan(2, FaultKind::Duplicate { length: u64::MAX }));
        assert_eq!(sent, b"010123456789abcdef");
    }

    #[test]
    fn a_duplicate_repeats_flipped_bytes_as_they_were_sent() {
        let both = plan(1, FaultKind::Flip { mask: 1 }).with(
            Direction::ToClient,
            2,
            FaultKind::Duplicate { length: 2 },
        );
        assert_eq!(run_in_all_sizes(&both).0, b"000023456789abcdef");
    }

    #[test]
    fn faults_strike_by_offset_and_then_in_the_order_added() {
        let pause = Duration::from_millis(1);
        let plan = plan(8, FaultKind::Cut)
            .with(Direction::ToClient, 5, FaultKind::Throttle { bytes_per_s: 9 })
            .with(Direction::ToClient, 0, FaultKind::Pause(pause))
            .with(Direction::ToClient, 5, FaultKind::Pause(pause))
            .with(Direction::ToClient, 8, FaultKind::Stall);
        let (sent, done) = run_in_all_sizes(&plan);
        assert_eq!(sent, STREAM[..8]);
        let expected = vec![
            (0, Action::Pause(pause)),
            (5, Action::Throttle { bytes_per_s: 9 }),
            (5, Action::Pause(pause)),
            (8, Action::Cut),
        ];
        assert_eq!(done, expected);
    }
}
