//! Whose bytes go next, where there are caps: start-time fair queueing (Goyal, Vin and Cheng, 1996) over those who pay,
//! so that many connections win nothing. Pure: the clock is the caller's.
//!
//! Who has been sent the least goes first. Nothing is saved up: who wants nothing for a while begins again where the
//! others are.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use towline_net::throttle::Throttle;

use super::{Caps, Payer};

/// Payers who want nothing are looked through for ones to forget whenever there are this many more.
const PAYERS_MORE: usize = 1_024;

/// Whose turn it is. `T` is told when it has come.
#[derive(Debug)]
pub(super) struct Fair<T> {
    caps: Caps,
    total: Option<Throttle>,
    shares: HashMap<Vec<u8>, Throttle>,
    accounts: HashMap<Payer, Account<T>>,
    /// Whose accounts want something, by where they begin.
    ready: BTreeSet<(u64, Payer)>,
    /// Whose caps hold them back, by until when.
    later: BTreeSet<(Duration, Payer)>,
    /// Where the one that was granted last began, in bytes.
    virtual_time: u64,
    /// Where the furthest of all ends.
    end_max: u64,
    looked_through_at: usize,
}

/// What one payer wants, and has had.
#[derive(Debug)]
struct Account<T> {
    waiting: VecDeque<Want<T>>,
    /// Until when caps hold back all that it wants, where they do.
    held_until: Option<Duration>,
    /// Where what it has had ends, in bytes.
    end: u64,
    throttle: Option<Throttle>,
}

/// Some bytes that somebody waits to send.
#[derive(Debug)]
pub(super) struct Want<T> {
    pub(super) bytes: u64,
    /// The share that they come from, where there are several.
    pub(super) share: Option<Vec<u8>>,
    pub(super) waiter: T,
}

/// What happens next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// This one may send.
    Granted(T),
    /// Nobody may before this time.
    NotBefore(Duration),
    /// Nobody wants to.
    Idle,
}

impl<T> Fair<T> {
    pub(super) fn new(caps: Caps) -> Self {
        let total = caps.total.map(Throttle::new);
        let shares = caps.per_share.iter().map(|(name, rate)| (name.clone(), Throttle::new(*rate)));
        let shares = shares.collect();
        Self {
            caps,
            total,
            shares,
            accounts: HashMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            virtual_time: 0,
            end_max: 0,
            looked_through_at: 0,
        }
    }

    /// Has somebody wait.
    pub(super) fn ask(&mut self, payer: &Payer, want: Want<T>, now: Duration) {
        if self.accounts.len() >= self.looked_through_at + PAYERS_MORE {
            self.forget_idle(now);
        }
        let cap = self.caps.of_payer(payer);
        let account = self.accounts.entry(payer.clone()).or_insert_with(|| Account::new(cap));
        account.waiting.push_back(want);
        if let Some(until) = account.held_until.take() {
            // The new one may go where the others may not.
            self.later.remove(&(until, payer.clone()));
        } else if account.waiting.len() > 1 {
            return;
        }
        self.ready.insert((account.end.max(self.virtual_time), payer.clone()));
    }

    /// Lets the next one go; those of whom `is_gone` says so are passed over, and pay nothing.
    pub(super) fn next(&mut self, now: Duration, is_gone: impl Fn(&T) -> bool) -> Next<T> {
        self.hold_back_no_longer(now);
        let wait = self.total.map_or(Duration::ZERO, |total| total.wait(now));
        if !wait.is_zero() && !self.ready.is_empty() {
            return Next::NotBefore(now + wait);
        }
        while let Some((start, payer)) = self.ready.pop_first() {
            let Some(account) = self.accounts.get_mut(&payer) else { continue };
            account.waiting.retain(|want| !is_gone(&want.waiter));
            match account.ready(&self.shares, now) {
                Ok(place) => {
                    if let Some(waiter) = self.grant(payer, place, start, now) {
                        return Next::Granted(waiter);
                    }
                }
                Err(wait) => {
                    account.held_until = Some(now + wait);
                    self.later.insert((now + wait, payer));
                }
            }
        }
        if let Some((then, _)) = self.later.first() {
            return Next::NotBefore(*then);
        }
        // Whoever comes next begins where the last has ended, and nobody has anything to remember.
        self.virtual_time = self.end_max;
        Next::Idle
    }

    /// Has those wait with the others whom caps have held back until now.
    fn hold_back_no_longer(&mut self, now: Duration) {
        while self.later.first().is_some_and(|(then, _)| *then <= now) {
            let Some((_, payer)) = self.later.pop_first() else { return };
            let Some(account) = self.accounts.get_mut(&payer) else { continue };
            account.held_until = None;
            self.ready.insert((account.end.max(self.virtual_time), payer));
        }
    }

    /// Lets the want at `place` go; `None` where there is none.
    fn grant(&mut self, payer: Payer, place: usize, start: u64, now: Duration) -> Option<T> {
        let account = self.accounts.get_mut(&payer)?;
        let want = account.waiting.remove(place)?;
        self.virtual_time = start;
        account.end = start.saturating_add(want.bytes);
        self.end_max = self.end_max.max(account.end);
        let share = want.share.and_then(|share| self.shares.get_mut(&share));
        let caps = [self.total.as_mut(), account.throttle.as_mut(), share];
        for throttle in caps.into_iter().flatten() {
            throttle.take(want.bytes, now);
        }
        if !account.waiting.is_empty() {
            self.ready.insert((account.end, payer));
        }
        Some(want.waiter)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.accounts.values().map(|account| account.waiting.len()).sum()
    }

    /// Forgets those who want nothing, and have nothing to remember.
    fn forget_idle(&mut self, now: Duration) {
        let virtual_time = self.virtual_time;
        self.accounts.retain(|_, account| {
            let owes = account.throttle.is_some_and(|throttle| !throttle.wait(now).is_zero());
            owes || account.end > virtual_time || !account.waiting.is_empty()
        });
        self.looked_through_at = self.accounts.len();
    }
}

impl<T> Account<T> {
    /// Of somebody new, who is held to this many bytes per second.
    fn new(cap: Option<u64>) -> Self {
        let throttle = cap.map(Throttle::new);
        Self { waiting: VecDeque::new(), held_until: None, end: 0, throttle }
    }

    /// The first that may go now as far as caps are concerned, or how long nobody may.
    fn ready(&self, shares: &HashMap<Vec<u8>, Throttle>, now: Duration) -> Result<usize, Duration> {
        let own = self.throttle.map_or(Duration::ZERO, |throttle| throttle.wait(now));
        if !own.is_zero() {
            return Err(own);
        }
        let mut soonest = None;
        for (place, want) in self.waiting.iter().enumerate() {
            let throttle = want.share.as_ref().and_then(|share| shares.get(share));
            let wait = throttle.map_or(Duration::ZERO, |throttle| throttle.wait(now));
            if wait.is_zero() {
                return Ok(place);
            }
            soonest = Some(soonest.map_or(wait, |soonest: Duration| soonest.min(wait)));
        }
        // Where nobody is left, there is nothing at the first place either.
        soonest.map_or(Ok(0), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const QUANTUM: u64 = 64 << 10;

    /// Connections that always want more: whose each is, from which share, and how much at once.
    struct World {
        fair: Fair<usize>,
        connections: Vec<(Payer, Option<Vec<u8>>, u64)>,
    }

    fn user(name: &str) -> Payer {
        Payer::User(name.into())
    }

    impl World {
        fn new(caps: Caps, connections: &[(&str, Option<&str>, u64)]) -> Self {
            let connections = connections
                .iter()
                .map(|(who, share, bytes)| (user(who), share.map(Into::into), *bytes));
            Self { fair: Fair::new(caps), connections: connections.collect() }
        }

        /// What each connection moves in ten seconds.
        fn run(&mut self) -> Vec<u64> {
            let mut moved = vec![0; self.connections.len()];
            let mut now = Duration::ZERO;
            for connection in 0..self.connections.len() {
                self.ask(connection, now);
            }
            while now < Duration::from_secs(10) {
                match self.fair.next(now, |_| false) {
                    Next::Granted(connection) => {
                        moved[connection] += self.connections[connection].2;
                        self.ask(connection, now);
                    }
                    Next::NotBefore(then) => {
                        assert!(then > now, "time goes on");
                        now = then;
                    }
                    Next::Idle => panic!("somebody always wants something"),
                }
            }
            moved
        }

        fn ask(&mut self, connection: usize, now: Duration) {
            let (payer, share, bytes) = self.connections[connection].clone();
            self.fair.ask(&payer, Want { bytes, share, waiter: connection }, now);
        }
    }

    fn assert_near(moved: u64, expected: u64) {
        assert!(moved.abs_diff(expected) <= expected / 20, "{moved}, and not {expected}");
    }

    #[test]
    fn one_connection_and_eight_get_the_same() {
        let total = Caps { total: Some(MIB), ..Caps::default() };
        let mut connections = vec![("ann", None, QUANTUM)];
        connections.extend([("bob", None, QUANTUM); 8]);
        let moved = World::new(total, &connections).run();
        let bob: u64 = moved[1..].iter().sum();
        assert_near(moved[0], 5 * MIB);
        assert_near(bob, 5 * MIB);
    }

    #[test]
    fn who_asks_for_little_at_once_gets_no_less() {
        let total = Caps { total: Some(MIB), ..Caps::default() };
        let moved = World::new(total, &[("ann", None, QUANTUM), ("bob", None, 1_000)]).run();
        assert_near(moved[0], 5 * MIB);
        assert_near(moved[1], 5 * MIB);
    }

    #[test]
    fn who_wanted_nothing_for_a_while_has_saved_nothing_up() {
        let mut fair = Fair::new(Caps { total: Some(MIB), ..Caps::default() });
        let mut now = Duration::ZERO;
        let want = |waiter| Want { bytes: QUANTUM, share: None, waiter };
        // Ann alone, for as long as a hundred turns take.
        for _ in 0..100 {
            fair.ask(&user("ann"), want("ann"), now);
            while let Next::NotBefore(then) = fair.next(now, |_| false) {
                now = then;
            }
        }
        let mut turns = Vec::new();
        for _ in 0..20 {
            fair.ask(&user("ann"), want("ann"), now);
            fair.ask(&user("bob"), want("bob"), now);
        }
        while turns.len() < 20 {
            match fair.next(now, |_| false) {
                Next::Granted(who) => turns.push(who),
                Next::NotBefore(then) => now = then,
                Next::Idle => panic!("twenty wait"),
            }
        }
        let anns = turns.iter().filter(|who| **who == "ann").count();
        assert!((9..=11).contains(&anns), "{turns:?}");
    }

    #[test]
    fn what_one_may_not_take_others_get() {
        let caps = Caps {
            total: Some(MIB),
            per_user: HashMap::from([("ann".into(), MIB / 8)]),
            ..Caps::default()
        };
        let moved = World::new(caps, &[("ann", None, QUANTUM), ("bob", None, QUANTUM)]).run();
        assert_near(moved[0], 10 * MIB / 8);
        assert_near(moved[1], 10 * MIB * 7 / 8);
    }

    #[test]
    fn each_payer_has_the_cap_of_everybody() {
        let caps = Caps { each: Some(MIB / 4), ..Caps::default() };
        let connections = [("ann", None, QUANTUM), ("ann", None, QUANTUM), ("bob", None, 5_000)];
        let moved = World::new(caps, &connections).run();
        assert_near(moved[0] + moved[1], 10 * MIB / 4);
        assert_near(moved[2], 10 * MIB / 4);
    }

    #[test]
    fn a_share_that_is_used_up_holds_back_nobody_elsewhere() {
        let caps = Caps {
            total: Some(MIB),
            per_share: HashMap::from([(b"slow".to_vec(), MIB / 16)]),
            ..Caps::default()
        };
        let connections = [
            ("ann", Some("slow"), QUANTUM),
            ("ann", Some("quick"), QUANTUM),
            ("bob", Some("slow"), QUANTUM),
        ];
        let moved = World::new(caps, &connections).run();
        assert_near(moved[0] + moved[2], 10 * MIB / 16);
        assert_near(moved[1], 10 * MIB * 15 / 16);
    }

    #[test]
    fn who_waits_for_a_slow_share_gets_from_another_at_once() {
        let per_share = HashMap::from([(b"slow".to_vec(), QUANTUM)]);
        let mut fair = Fair::new(Caps { per_share, ..Caps::default() });
        let now = Duration::from_secs(1);
        let want = |share: &str, waiter| Want { bytes: QUANTUM, share: Some(share.into()), waiter };
        fair.ask(&user("ann"), want("slow", 1), now);
        assert_eq!(fair.next(now, |_| false), Next::Granted(1));
        fair.ask(&user("ann"), want("slow", 2), now);
        assert!(matches!(fair.next(now, |_| false), Next::NotBefore(_)));
        fair.ask(&user("ann"), want("quick", 3), now);
        assert_eq!(fair.next(now, |_| false), Next::Granted(3));
    }

    #[test]
    fn who_has_gone_pays_nothing_and_payers_without_a_want_are_forgotten() {
        let mut fair = Fair::new(Caps { total: Some(MIB), ..Caps::default() });
        for number in 0..5_000 {
            let want = Want { bytes: QUANTUM, share: None, waiter: number };
            fair.ask(&user(&number.to_string()), want, Duration::ZERO);
            assert_eq!(fair.next(Duration::ZERO, |_| true), Next::Idle);
        }
        assert!(fair.accounts.len() <= 2 * PAYERS_MORE, "{}", fair.accounts.len());
        // Nor are those who have had one turn each.
        for number in 5_000..10_000 {
            let want = Want { bytes: 1, share: None, waiter: number };
            let now = Duration::from_secs(number);
            fair.ask(&user(&number.to_string()), want, now);
            assert_eq!(fair.next(now, |_| false), Next::Granted(number));
            assert_eq!(fair.next(now, |_| false), Next::Idle);
        }
        assert!(fair.accounts.len() <= 2 * PAYERS_MORE, "{}", fair.accounts.len());
    }
}
