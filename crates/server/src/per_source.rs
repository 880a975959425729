//! What each source has one of, for as long as somebody uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use towline_net::source::Source;

/// Sources are looked through for ones to forget whenever there are this many more.
const SOURCES_MORE: usize = 1_024;

/// One of something for each source.
#[derive(Debug)]
pub(crate) struct PerSource<T> {
    known: Mutex<Known<T>>,
}

/// Those that somebody uses, and a few more.
#[derive(Debug)]
struct Known<T> {
    by_source: HashMap<Source, Weak<T>>,
    looked_through_at: usize,
}

impl<T> Default for PerSource<T> {
    fn default() -> Self {
        let known = Known { by_source: HashMap::new(), looked_through_at: 0 };
        Self { known: Mutex::new(known) }
    }
}

impl<T> PerSource<T> {
    /// The source's own, which is made where nobody uses it.
    pub(crate) fn of(&self, source: Source, make: impl FnOnce() -> T) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let used = known.by_source.get(&source).and_then(Weak::upgrade);
        used.unwrap_or_else(|| {
            let made = Arc::new(make());
            known.add(source, Arc::downgrade(&made));
            made
        })
    }
}

impl<T> Known<T> {
    fn add(&mut self, source: Source, made: Weak<T>) {
        if self.by_source.len() >= self.looked_through_at + SOURCES_MORE {
            self.by_source.retain(|_, made| made.strong_count() > 0);
            self.looked_through_at = self.by_source.len();
        }
        self.by_source.insert(source, made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_the_sources_only_one() {
        let each = PerSource::default();
        let [one, other] = [1, 2].map(|last| Source::of(([192, 0, 2, last], 1).into()));
        let used = each.of(one, || 1);
        assert_eq!([*each.of(one, || 2), *each.of(other, || 3)], [1, 3]);
        drop(used);
        assert_eq!(*each.of(one, || 4), 4);
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let each = PerSource::default();
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            drop(each.of(Source::of(([10, 0, high, low], 1).into()), || number));
        }
        assert!(each.known.lock().unwrap().by_source.len() <= 2 * SOURCES_MORE);
    }
}
