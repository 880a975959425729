//! How many connections a transfer has: as many as it may from the beginning, or one more as long as that gains
//! something or nobody else needs it.

use std::time::{Duration, Instant};

use super::Connections;
use super::seats::Taken;

/// Connections that an adaptive transfer begins with on a short path, and on a long one; these are also the most.
const ON_SHORT_PATHS: u32 = 2;
const ON_LONG_PATHS: u32 = 8;

/// A connection is added while the last one has made the transfer this much faster, in percent.
const GAIN_PERCENT: u64 = 10;

/// How long a number of connections is tried before another.
const TRIAL: Duration = Duration::from_millis(300);

/// A path with at least this round trip is long: there, as many connections are opened as are allowed, at once.
const LONG_PATH: Duration = Duration::from_millis(20);

/// Connections that a path is worth before anything is known of it but the time to the server and back.
pub(super) fn worth_at_once(round_trip: Duration) -> u32 {
    if round_trip < LONG_PATH { ON_SHORT_PATHS } else { ON_LONG_PATHS }
}

/// Whether more connections are worth it.
pub(super) struct Growth {
    connections: Connections,
    /// Seats taken beyond those that it began with.
    spare_seats: Vec<Taken>,
    connections_max: u32,
    trial_began: Instant,
    bytes_before: u64,
    best_bytes_per_s: u64,
}

impl Growth {
    /// For a file of so many pieces.
    pub(super) fn new(connections: &Connections, pieces: u32) -> Self {
        let wanted = match connections {
            Connections::Adaptive => ON_LONG_PATHS,
            Connections::Exactly(connections) => *connections,
            Connections::Sharing(_, seats) => seats.count(),
        };
        // A connection without a piece to fetch is of no use.
        let connections_max = wanted.min(pieces).max(1);
        Self {
            connections: connections.clone(),
            spare_seats: Vec::new(),
            connections_max,
            trial_began: Instant::now(),
            bytes_before: 0,
            best_bytes_per_s: 0,
        }
    }

    /// Connections that are opened at once.
    pub(super) fn at_once(&self, round_trip: Duration) -> usize {
        let most = self.connections_max as usize;
        match self.connections {
            Connections::Adaptive => most.min(worth_at_once(round_trip) as usize),
            Connections::Exactly(_) => most,
            Connections::Sharing(taken, _) => most.min(taken as usize),
        }
    }

    /// Whether to add a connection to those that there are.
    pub(super) fn wants_more(&mut self, received_bytes: u64, connections: usize) -> bool {
        if connections >= self.connections_max as usize {
            return false;
        }
        match &self.connections {
            Connections::Sharing(_, seats) => {
                let spare = seats.take_spare();
                let is_there = spare.is_some();
                self.spare_seats.extend(spare);
                is_there
            }
            _ => self.has_gained(received_bytes, connections),
        }
    }

    /// Whether the connections so far have proved worth adding one.
    fn has_gained(&mut self, received_bytes: u64, connections: usize) -> bool {
        let elapsed = self.trial_began.elapsed();
        if elapsed < TRIAL {
            return false;
        }
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let bytes_per_s = (received_bytes - self.bytes_before) * 1_000 / milliseconds;
        self.trial_began = Instant::now();
        self.bytes_before = received_bytes;
        let gains =
            bytes_per_s > self.best_bytes_per_s + self.best_bytes_per_s * GAIN_PERCENT / 100;
        if gains {
            self.best_bytes_per_s = bytes_per_s;
        } else {
            // What did not gain anything is not tried again.
            self.connections_max = u32::try_from(connections).unwrap_or(self.connections_max);
        }
        gains
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Growth, worth_at_once};
    use crate::native::{Connections, Seats};

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_millis(50);

    #[test]
    fn a_long_path_is_worth_more_connections_at_once() {
        assert!(worth_at_once(SHORT) < worth_at_once(LONG));
        let at_once = |pieces, path| Growth::new(&Connections::Adaptive, pieces).at_once(path);
        assert_eq!([at_once(100, SHORT), at_once(100, LONG), at_once(3, LONG)], [2, 8, 3]);
    }

    #[tokio::test]
    async fn who_shares_begins_with_what_was_taken_and_grows_by_what_is_spare() {
        let seats = Seats::new(4);
        let taken = seats.take(2).await;
        let connections = Connections::Sharing(taken.count(), seats.clone());
        let mut growth = Growth::new(&connections, 100);
        assert_eq!(growth.at_once(LONG), 2);
        assert!(growth.wants_more(0, 2) && growth.wants_more(0, 3));
        assert!(!growth.wants_more(0, 4), "that are all");
        assert!(seats.take_spare().is_none());
        drop((growth, taken));
        assert_eq!(seats.take(9).await.count(), 4);
    }
}
