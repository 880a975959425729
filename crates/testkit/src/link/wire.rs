//! One direction of a link as arithmetic: when a packet arrives, or why it never does. No clock, no
//! device.

use std::collections::VecDeque;
use std::time::Duration;

use crate::random::Random;

const NANOS_PER_S: u128 = 1_000_000_000;

/// Of a million.
const WHOLE_PPM: u64 = 1_000_000;

/// What a direction does to the packets in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// From the end of a packet's sending to its arrival.
    pub(super) delay: Duration,
    pub(super) rate_bits_per_s: u64,
    pub(super) loss_ppm: u32,
    /// Bytes that may wait to be sent, the packet being sent among them; one more packet is dropped.
    pub(super) queue_bytes: u64,
}

/// What became of a packet that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes out at this time.
    Arrives(Duration),
    /// It was sent, taking its time on the wire, and lost on the way.
    Lost,
    /// The queue was full.
    Overflowed,
}

/// Packets under way. Times are counted from an instant of the caller's, and never run backwards.
///
/// A queue that drops at its tail, a sender that takes `8 × length ÷ rate` for each packet, a loss
/// that is drawn for each packet by itself, and a delay that is the same for all: nothing is
/// reordered.
#[derive(Debug)]
pub(super) struct Wire<Packet> {
    shape: Shape,
    random: Random,
    /// When the last packet of the queue will have been sent.
    free_at: Duration,
    under_way: VecDeque<(Duration, Packet)>,
}

impl<Packet> Wire<Packet> {
    pub(super) fn new(shape: Shape, seed: u64) -> Self {
        let random = Random::from_seed(seed);
        Self { shape, random, free_at: Duration::ZERO, under_way: VecDeque::new() }
    }

    /// Hands in a packet of `length` bytes at `now`. It is kept only where it will arrive.
    pub(super) fn offer(&mut self, now: Duration, length: u64, packet: Packet) -> Fate {
        if self.backlog_bytes(now) + length > self.shape.queue_bytes {
            return Fate::Overflowed;
        }
        self.free_at = self.free_at.max(now) + self.time_to_send(length);
        if self.random.below(WHOLE_PPM) < u64::from(self.shape.loss_ppm) {
            return Fate::Lost;
        }
        let arrival = self.free_at + self.shape.delay;
        self.under_way.push_back((arrival, packet));
        Fate::Arrives(arrival)
    }

    /// The next packet that has arrived by `now`.
    pub(super) fn take(&mut self, now: Duration) -> Option<Packet> {
        let (arrival, _) = self.under_way.front()?;
        if *arrival > now {
            return None;
        }
        self.under_way.pop_front().map(|(_, packet)| packet)
    }

    /// When the next packet arrives; `None` where none is under way.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.under_way.front().map(|(arrival, _)| *arrival)
    }

    /// Bytes that wait to be sent, from the time that sending them will take.
    fn backlog_bytes(&self, now: Duration) -> u64 {
        let left = self.free_at.saturating_sub(now).as_nanos();
        let bytes = left * u128::from(self.shape.rate_bits_per_s) / 8 / NANOS_PER_S;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn time_to_send(&self, length: u64) -> Duration {
        let nanos = u128::from(length) * 8 * NANOS_PER_S;
        // Rounded up, so that the rate is never exceeded.
        let nanos = nanos.div_ceil(u128::from(self.shape.rate_bits_per_s.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A packet of 1,000 bytes takes a millisecond; ten of them fill the queue.
    const SHAPE: Shape = Shape {
        delay: MS.saturating_mul(50),
        rate_bits_per_s: 8_000_000,
        loss_ppm: 0,
        queue_bytes: 10_000,
    };

    fn offer(wire: &mut Wire<u64>, now: Duration, number: u64) -> Fate {
        wire.offer(now, 1_000, number)
    }

    #[test]
    fn a_packet_arrives_after_its_sending_and_the_delay() {
        let mut wire = Wire::new(SHAPE, 1);
        assert_eq!(wire.next_arrival(), None);
        assert_eq!(offer(&mut wire, 7 * MS, 1), Fate::Arrives(58 * MS));
        assert_eq!(wire.next_arrival(), Some(58 * MS));
        assert_eq!(wire.take(Duration::from_nanos(57_999_999)), None);
        assert_eq!(wire.take(58 * MS), Some(1));
        assert_eq!((wire.take(59 * MS), wire.next_arrival()), (None, None));
    }

    #[test]
    fn packets_of_a_burst_arrive_in_order_at_the_rate() {
        let mut wire = Wire::new(SHAPE, 1);
        for number in 0..5 {
            offer(&mut wire, Duration::ZERO, number);
        }
        for number in 0..5 {
            let arrival = wire.next_arrival().unwrap();
            assert_eq!(arrival, MS * (51 + u32::try_from(number).unwrap()));
            assert_eq!(wire.take(arrival), Some(number));
        }
    }

    #[test]
    fn an_idle_wire_saves_nothing_up() {
        let mut wire = Wire::new(SHAPE, 1);
        offer(&mut wire, Duration::ZERO, 0);
        assert_eq!(offer(&mut wire, 1_000 * MS, 1), Fate::Arrives(1_051 * MS));
        assert_eq!(offer(&mut wire, 1_000 * MS, 2), Fate::Arrives(1_052 * MS));
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_dropped_until_it_drains() {
        let mut wire = Wire::new(SHAPE, 1);
        let fates: Vec<_> =
            (0..12).map(|number| offer(&mut wire, Duration::ZERO, number)).collect();
        assert!(fates[..10].iter().all(|fate| matches!(fate, Fate::Arrives(_))), "{fates:?}");
        assert_eq!(fates[10..], [Fate::Overflowed; 2]);
        assert_eq!(offer(&mut wire, MS / 2, 12), Fate::Overflowed);
        assert_eq!(offer(&mut wire, MS, 13), Fate::Arrives(61 * MS));
    }

    #[test]
    fn losses_follow_the_seed_and_come_near_the_rate() {
        let lost = |seed| {
            let shape = Shape { loss_ppm: 10_000, queue_bytes: u64::MAX, ..SHAPE };
            let mut wire = Wire::new(shape, seed);
            let fates = (0..100_000).map(|number| offer(&mut wire, MS * number, 0));
            fates.map(|fate| fate == Fate::Lost).collect::<Vec<_>>()
        };
        let one = lost(1);
        assert_eq!(one, lost(1));
        assert_ne!(one, lost(2));
        // Five standard deviations of 31 around the mean of 1,000.
        let count = one.iter().filter(|is_lost| **is_lost).count();
        assert!((843..1_157).contains(&count), "{count}");
    }

    #[test]
    fn a_lost_packet_takes_its_time_on_the_wire() {
        let mut wire = Wire::new(Shape { loss_ppm: 1_000_000, ..SHAPE }, 1);
        assert_eq!(offer(&mut wire, Duration::ZERO, 0), Fate::Lost);
        wire.shape.loss_ppm = 0;
        assert_eq!(offer(&mut wire, Duration::ZERO, 1), Fate::Arrives(52 * MS));
    }

    #[test]
    fn never_more_comes_out_than_the_rate_allows() {
        let shape = Shape { rate_bits_per_s: 333_333_333, queue_bytes: 1 << 20, ..SHAPE };
        let (mut wire, mut random) = (Wire::new(shape, 1), Random::from_seed(2));
        let (mut now, mut bytes) = (Duration::ZERO, 0);
        for _ in 0..100_000 {
            now += Duration::from_nanos(random.below(40_000));
            let length = 40 + random.below(1_461);
            wire.offer(now, length, length);
            while let Some(length) = wire.take(now) {
                bytes += length;
            }
            let allowed = u128::from(shape.rate_bits_per_s) * now.as_nanos() / 8 / NANOS_PER_S;
            assert!(u128::from(bytes) <= allowed, "{bytes} bytes after {now:?}");
        }
        assert!(bytes > 40_000_000, "{bytes}");
    }
}
