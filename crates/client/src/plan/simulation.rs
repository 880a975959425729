//! Whole transfers in virtual time: workers that are slow, stand still, die, come back and lie, and a process
//! that is killed and resumes from a torn journal. The same seed gives the same transfer.

mod lead;
mod path;

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use towline_testkit::random::Random;

use self::lead::{Outcome, Transfer};
use super::{Plan, TakeOver, WorkerId};

/// Transfers that are simulated.
const SEEDS: u64 = 100_000;

/// Most pieces of a simulated file.
const PIECES_MAX: u64 = 40;

/// Simulates the transfer of a seed to its end, across the deaths of its process.
fn simulate(seed: u64) -> Outcome {
    let mut random = Random::from_seed(seed);
    let most = if random.below(4) == 0 { PIECES_MAX } else { 8 };
    let count = u32::try_from(random.below(most + 1)).unwrap();
    let mut transfer = Transfer::new(seed, count, &mut random);
    for _ in 0..random.below(3) {
        let events = random.below(u64::from(count) * 3 + 2);
        if transfer.run(Some(events)).is_complete {
            break;
        }
        transfer.crash();
    }
    transfer.run(None)
}

#[test]
fn every_transfer_with_an_honest_connection_completes_and_keeps_its_promises() {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let outcomes = thread::scope(|scope| {
        let part = |first| (first..SEEDS).step_by(threads).map(simulate).collect();
        let parts: Vec<_> = (0..threads as u64)
            .map(|first| scope.spawn(move || -> Vec<Outcome> { part(first) }))
            .collect();
        let join = |part: thread::ScopedJoinHandle<'_, _>| part.join().expect("a seed failed");
        parts.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    // Each kind of trouble was met, often.
    let met = |of: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| of(outcome)).count();
    for (what, times) in [
        ("completed", met(|outcome| outcome.is_complete)),
        ("given up", met(|outcome| !outcome.is_complete)),
        ("taken over", met(|outcome| outcome.taken_over > 0)),
        ("duplicate", met(|outcome| outcome.duplicates > 0)),
        ("damaged", met(|outcome| outcome.damaged > 0)),
        ("lost", met(|outcome| outcome.lost > 0)),
        ("kept", met(|outcome| outcome.kept > 0)),
        ("kept in vain", met(|outcome| outcome.released > 0)),
        ("without trouble", met(|outcome| outcome.is_untroubled)),
    ] {
        println!("{what}: {times} of {SEEDS}");
        assert!(times > 500, "{what}: {times}");
    }
}

#[test]
fn a_hundred_thousand_pieces_in_ever_smaller_runs_are_handed_out_without_delay() {
    let (count, now) = (100_000, Duration::ZERO);
    let workers: Vec<_> = (0..8).map(WorkerId).collect();
    let mut plan = Plan::new(count, TakeOver::Allowed);
    // The worst for the runs: every second piece was kept; every fourth in vain.
    plan.reserve((0..count).step_by(2));
    for piece in (0..count).step_by(2) {
        if piece % 4 == 0 {
            plan.release(piece);
        } else {
            plan.arrived(WorkerId(u32::MAX), piece, now);
        }
    }
    let mut queues = vec![Vec::new(); workers.len()];
    let mut steps = 0_u64;
    while !plan.is_complete() {
        for (&id, queue) in workers.iter().zip(&mut queues) {
            let run = plan.take(id, now);
            queue.extend(run.into_iter().flatten());
            if steps % 1_000 == 999 {
                plan.lost(id);
                queue.clear();
            }
            for piece in queue.drain(..) {
                plan.arrived(id, piece, now);
            }
            steps += 1;
        }
    }
}
