//! Whether to try again what needs a session, and when.

use std::mem::replace;
use std::time::Duration;

use towline_net::tls::client::TlsError;
use towline_proto::native::preface::PrefaceError;

use super::SessionError;
use crate::retry::Backoff;

/// How often one thing has failed in a row.
#[derive(Clone, Debug)]
pub(super) struct Retries {
    backoff: Backoff,
    failures: u32,
    /// Whether the last failure looked as if the server were of another kind. A bit that is flipped in a handshake
    /// looks the same, but hardly twice in a row.
    seemed_of_another_kind: bool,
}

impl Retries {
    /// Nothing has failed yet.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, seemed_of_another_kind: false }
    }

    /// How often it has failed since progress was last made, or since the beginning.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Progress was made: the count of failures starts again.
    pub(super) fn renew(&mut self) {
        *self = Self::new(self.backoff);
    }

    /// How long to wait after it has failed once more; `None` where another try does no better, or would be one too
    /// many.
    pub(super) fn wait_after(&mut self, error: &SessionError) -> Option<Duration> {
        let seems_of_another_kind = matches!(
            error,
            SessionError::Tls(TlsError::AnotherProtocol | TlsError::NoTls(_))
                | SessionError::Preface(PrefaceError::Magic)
                | SessionError::AnotherService(_)
        );
        let seemed_so = replace(&mut self.seemed_of_another_kind, seems_of_another_kind);
        let wait = self.backoff.waits().nth(self.failures as usize);
        self.failures += 1;
        let is_of_another_kind = seems_of_another_kind && seemed_so;
        wait.filter(|_| error.is_retryable() && !is_of_another_kind)
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::name::RemoteName;

    use super::{Backoff, PrefaceError, Retries, SessionError, TlsError};

    const OF_ANOTHER_KIND: SessionError = SessionError::Tls(TlsError::AnotherProtocol);

    fn waits(retries: &mut Retries, errors: &[SessionError]) -> Vec<Option<u64>> {
        let wait = |error| retries.wait_after(error).map(|wait| wait.as_secs());
        errors.iter().map(wait).collect()
    }

    #[test]
    fn waits_grow_until_it_comes_on_and_end_after_the_last_retry() {
        let mut retries = Retries::new(Backoff { retries: 2, ..Backoff::default() });
        assert_eq!(waits(&mut retries, &[SessionError::Closed]), [Some(1)]);
        retries.renew();
        let closed = [SessionError::Closed, SessionError::Closed, SessionError::Closed];
        assert_eq!(waits(&mut retries, &closed), [Some(1), Some(2), None]);
        assert_eq!(retries.failures(), 3);
    }

    #[test]
    fn a_server_is_of_another_kind_when_it_seems_so_twice_in_a_row() {
        let mut retries = Retries::new(Backoff::default());
        let errors = [OF_ANOTHER_KIND, SessionError::Closed, OF_ANOTHER_KIND, OF_ANOTHER_KIND];
        assert_eq!(waits(&mut retries, &errors), [Some(1), Some(2), Some(4), None]);
        let mut retries = Retries::new(Backoff::default());
        let errors = [SessionError::Preface(PrefaceError::Magic), OF_ANOTHER_KIND];
        assert_eq!(waits(&mut retries, &errors), [Some(1), None]);
    }

    #[test]
    fn what_another_session_does_no_better_is_not_tried_again() {
        let mut retries = Retries::new(Backoff::default());
        let error = SessionError::BelowNoFolder(RemoteName::parse(b"a/b").unwrap());
        assert_eq!(waits(&mut retries, &[error]), [None]);
    }
}
