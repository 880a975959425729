//! Who gets a connection: the limits in total and per source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use towline_net::source::Source;

use crate::config::Limits;

/// Counts the connections that are open.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: ArcSwap<Limits>,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    per_source: HashMap<Source, usize>,
}

/// A place among the open connections; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    source: Source,
    open: Arc<Mutex<Open>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} connections are open, which is the limit")]
    Total(usize),
    #[error("{0} connections from there are open, which is the limit for one source")]
    Source(usize),
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits: ArcSwap::from_pointee(limits), open: Arc::default() }
    }

    /// From now on these hold for whoever comes.
    pub(crate) fn replace(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Takes a place for a connection from `source`.
    pub(crate) fn admit(&self, source: Source) -> Result<Ticket, Full> {
        let limits = self.limits.load();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= limits.connections {
            return Err(Full::Total(open.total));
        }
        let from_source = open.per_source.entry(source).or_default();
        if *from_source >= limits.connections_per_source {
            return Err(Full::Source(*from_source));
        }
        *from_source += 1;
        open.total += 1;
        Ok(Ticket { source, open: Arc::clone(&self.open) })
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        // A source without connections takes no memory.
        if let Some(count) = open.per_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.per_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use towline_net::source::Source;

    use super::{Admission, Full};
    use crate::config::Limits;

    fn source(last: u8) -> Source {
        Source::of(([192, 0, 2, last], 1).into())
    }

    #[test]
    fn one_source_cannot_take_all_places() {
        let admission = Admission::new(Limits {
            connections: 3,
            connections_per_source: 2,
            ..Limits::default()
        });
        let _first = admission.admit(source(1)).unwrap();
        let second = admission.admit(source(1)).unwrap();
        assert_eq!(admission.admit(source(1)).unwrap_err(), Full::Source(2));
        let _other = admission.admit(source(2)).unwrap();
        assert_eq!(admission.admit(source(3)).unwrap_err(), Full::Total(3));
        drop(second);
        assert!(admission.admit(source(3)).is_ok());
    }

    #[test]
    fn sources_without_connections_are_forgotten() {
        let admission = Admission::new(Limits {
            connections: 9,
            connections_per_source: 0,
            ..Limits::default()
        });
        assert!(admission.admit(source(1)).is_err());
        let admission = Admission::new(Limits::default());
        drop((0..=255).map(|last| admission.admit(source(last)).unwrap()).collect::<Vec<_>>());
        assert!(admission.open.lock().unwrap().per_source.is_empty());
    }
}
