//! Bandwidth caps in total, per payer and per share; and the request rate.

mod fair;
mod request_rate;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep_until;
use towline_net::source::Source;
use towline_proto::name::RemoteName;

use self::fair::{Fair, Next, Want};
pub(crate) use self::request_rate::RequestRate;

/// The most and the fewest bytes that are granted at once; between them, a twentieth of a second's.
const QUANTUM_BYTES_MAX: u64 = 256 << 10;
const QUANTUM_BYTES_MIN: u64 = 4 << 10;
const QUANTA_PER_S: u64 = 20;

/// Bytes per second that nobody goes beyond, each where it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// All together.
    pub total: Option<u64>,
    /// Each who pays: a user over all sessions and protocols, or a source where nobody logged in.
    pub each: Option<u64>,
    /// These users instead.
    pub per_user: HashMap<String, u64>,
    /// These shares, by name, whoever asks.
    pub per_share: HashMap<Vec<u8>, u64>,
}

/// Whom bytes count for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Payer {
    User(Arc<str>),
    Source(Source),
}

impl Caps {
    fn of_payer(&self, payer: &Payer) -> Option<u64> {
        match payer {
            Payer::User(name) => self.per_user.get(&**name).copied().or(self.each),
            Payer::Source(_) => self.each,
        }
    }

    /// Bytes that are granted at once; `None` where nothing is capped.
    fn quantum(&self) -> Option<u64> {
        let all = self.total.into_iter().chain(self.each);
        let all = all.chain(self.per_user.values().copied());
        let least = all.chain(self.per_share.values().copied()).min()?;
        Some((least / QUANTA_PER_S).clamp(QUANTUM_BYTES_MIN, QUANTUM_BYTES_MAX))
    }
}

/// Grants bytes.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Nothing where nothing is capped.
    capped: ArcSwapOption<Capped>,
    replaced: Notify,
}

#[derive(Debug)]
struct Capped {
    caps: Caps,
    /// Nothing once other caps hold.
    fair: Mutex<Option<Fair<oneshot::Sender<()>>>>,
    quantum: u64,
    began: Instant,
    asked: Notify,
}

impl Rates {
    pub(crate) fn new(caps: &Caps) -> Self {
        Self { capped: ArcSwapOption::new(Capped::new(caps)), replaced: Notify::new() }
    }

    /// From now on these caps hold. Who waits because of others need not wait for what they wait for now.
    pub(crate) fn replace(&self, caps: &Caps) {
        let before = self.capped.load_full();
        if before.as_ref().map_or(&Caps::default(), |before| &before.caps) == caps {
            return;
        }
        self.capped.store(Capped::new(caps));
        self.replaced.notify_one();
        if let Some(before) = before {
            *before.fair() = None;
        }
    }

    /// The most bytes that may be asked for at once.
    pub(crate) fn bytes_at_once_max(&self) -> u64 {
        self.capped.load().as_ref().map_or(u64::MAX, |capped| capped.quantum)
    }

    /// Waits until some bytes out of a share may be sent; `None` where shares have no names.
    pub(crate) async fn acquire(&self, payer: &Payer, share: Option<&RemoteName>, mut bytes: u64) {
        while bytes > 0 {
            let Some(capped) = self.capped.load_full() else { return };
            let part = bytes.min(capped.quantum);
            if capped.acquire(payer, share, part).await {
                bytes -= part;
            }
        }
    }

    /// How many wait until they may send.
    pub(crate) fn waiting(&self) -> usize {
        self.capped
            .load()
            .as_ref()
            .map_or(0, |capped| capped.fair().as_ref().map_or(0, Fair::waiting))
    }

    /// Grants what is asked for, for ever.
    pub(crate) async fn drive(&self) {
        loop {
            let capped = self.capped.load_full();
            let driving = async {
                match capped {
                    Some(capped) => capped.drive().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                never = driving => match never {},
                () = self.replaced.notified() => {}
            }
        }
    }
}

impl Capped {
    /// `None` where nothing is capped.
    fn new(caps: &Caps) -> Option<Arc<Self>> {
        let quantum = caps.quantum()?;
        Some(Arc::new(Self {
            caps: caps.clone(),
            fair: Mutex::new(Some(Fair::new(caps.clone()))),
            quantum,
            began: Instant::now(),
            asked: Notify::new(),
        }))
    }

    fn fair(&self) -> MutexGuard<'_, Option<Fair<oneshot::Sender<()>>>> {
        self.fair.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a grant; `false` where other caps hold by now.
    async fn acquire(&self, payer: &Payer, share: Option<&RemoteName>, bytes: u64) -> bool {
        let (waiter, granted) = oneshot::channel();
        let share = share.map(|share| share.as_bytes().to_vec());
        let want = Want { bytes, share, waiter };
        match &mut *self.fair() {
            Some(fair) => fair.ask(payer, want, self.began.elapsed()),
            None => return false,
        }
        self.asked.notify_one();
        granted.await.is_ok()
    }

    async fn drive(&self) -> Infallible {
        loop {
            match self.grant() {
                Some(then) => {
                    tokio::select! {
                        () = sleep_until(then.into()) => {}
                        () = self.asked.notified() => {}
                    }
                }
                None => self.asked.notified().await,
            }
        }
    }

    /// Grants what may go now; tells when more may, where somebody waits.
    fn grant(&self) -> Option<Instant> {
        let mut fair = self.fair();
        let fair = fair.as_mut()?;
        loop {
            match fair.next(self.began.elapsed(), oneshot::Sender::is_closed) {
                Next::Granted(waiter) => drop(waiter.send(())),
                Next::NotBefore(then) => return Some(self.began + then),
                Next::Idle => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    fn caps(total: u64) -> Caps {
        Caps { total: Some(total), ..Caps::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_cap_that_is_lifted_goes_on() {
        let rates = Arc::new(Rates::new(&caps(1)));
        let driving = Arc::clone(&rates);
        let driver = tokio::spawn(async move { driving.drive().await });
        let payer = Payer::User("ann".into());
        let waiting = Arc::clone(&rates);
        let transfer = tokio::spawn(async move { waiting.acquire(&payer, None, 1 << 40).await });
        while rates.waiting() == 0 {
            yield_now().await;
        }
        rates.replace(&caps(2));
        assert!(!transfer.is_finished());
        rates.replace(&Caps::default());
        transfer.await.unwrap();
        assert_eq!(rates.bytes_at_once_max(), u64::MAX);
        driver.abort();
    }

    #[tokio::test]
    async fn who_asks_by_caps_that_hold_no_more_is_told_to_ask_again() {
        let rates = Rates::new(&caps(1));
        let before = rates.capped.load_full().unwrap();
        rates.replace(&caps(2));
        assert!(!before.acquire(&Payer::User("ann".into()), None, 1).await);
    }
}
