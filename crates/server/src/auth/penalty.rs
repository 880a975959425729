//! What failed logins cost a source: time. Pure; whoever asks brings the clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use towline_net::source::Source;

/// Failures that cost nothing: people mistype.
const FREE_FAILURES: u32 = 3;

/// What the first one after those costs; each more costs twice as much.
const FIRST_COST: Duration = Duration::from_millis(500);

/// What one costs at most.
const COST_MAX: Duration = Duration::from_secs(8);

/// After this time without another failure a source is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// Sources that are remembered at most; beyond, the one that failed the longest ago is forgotten.
const SOURCES_MAX: usize = 10_000;

/// Failures by source. Sources without any take no memory, and never wait.
#[derive(Debug, Default)]
pub(super) struct Penalties {
    sources: HashMap<Source, Record>,
}

#[derive(Debug)]
struct Record {
    failures: u32,
    last: Instant,
}

impl Penalties {
    /// How long the next attempt must wait before it is looked at. Whoever asks looks at one after the other.
    pub(super) fn cost(&mut self, source: Source, now: Instant) -> Duration {
        let Some(record) = self.sources.get(&source) else { return Duration::ZERO };
        if now.duration_since(record.last) > FORGOTTEN_AFTER {
            self.sources.remove(&source);
            return Duration::ZERO;
        }
        cost(record.failures)
    }

    /// Notes that an attempt failed.
    pub(super) fn note_failure(&mut self, source: Source, now: Instant) {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            let oldest = self.sources.iter().min_by_key(|(_, record)| record.last);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.sources.remove(&oldest);
            }
        }
        let record = self.sources.entry(source).or_insert(Record { failures: 0, last: now });
        record.failures = record.failures.saturating_add(1);
        record.last = now;
    }
}

fn cost(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_COST
            .checked_mul(1 << doublings.min(10))
            .map_or(COST_MAX, |cost| cost.min(COST_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        let [_, high, middle, low] = number.to_be_bytes();
        Source::of(([10, high, middle, low], 1).into())
    }

    #[test]
    fn a_guesser_is_slowed_down() {
        let (mut penalties, start) = (Penalties::default(), Instant::now());
        let (mut now, mut looked_at) = (start, 0);
        while now < start + Duration::from_mins(10) {
            // It does not lose a moment.
            now += penalties.cost(source(1), now);
            penalties.note_failure(source(1), now);
            looked_at += 1;
        }
        let at_most = 600 / COST_MAX.as_secs() + 10;
        assert!(looked_at <= at_most, "{looked_at} attempts were looked at");
        assert_eq!(penalties.cost(source(2), now), Duration::ZERO);
    }

    #[test]
    fn somebody_who_mistypes_waits_little_and_not_for_ever() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        for _ in 0..FREE_FAILURES {
            assert_eq!(penalties.cost(source(1), now), Duration::ZERO);
            penalties.note_failure(source(1), now);
        }
        assert_eq!(penalties.cost(source(1), now), FIRST_COST);
        let later = now + FORGOTTEN_AFTER + Duration::from_secs(1);
        assert_eq!(penalties.cost(source(1), later), Duration::ZERO);
        assert!(penalties.sources.is_empty());
    }

    #[test]
    fn only_so_many_sources_are_remembered() {
        let (mut penalties, start) = (Penalties::default(), Instant::now());
        for number in 0..10_200 {
            penalties.note_failure(source(number), start + Duration::from_millis(number.into()));
        }
        assert_eq!(penalties.sources.len(), SOURCES_MAX);
        assert!(penalties.sources.contains_key(&source(10_199)));
    }
}
