//! The server of a transfer: how it is reached, and the sessions with it that nobody uses at the moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use towline_proto::name::RemoteName;
use towline_proto::native::message::{Answer, Info, Request};

use super::last_heard::LastHeard;
use super::session::{Frame, Session, SessionError};
use crate::connect::Address;
use crate::monitor::{Event, Monitor};
use crate::trust::Trust;

/// A session that nobody has used for so long is not used any more: servers close theirs after a while, and what lies
/// between may forget it without a word.
pub(super) const IDLE_MAX: Duration = Duration::from_mins(1);

/// How often it is tried whether a server has a place by now.
const PLACE_POLL: Duration = Duration::from_secs(1);

/// A server. Clones share the sessions: who needs one next does not connect anew.
#[derive(Clone, Debug)]
pub struct Server {
    address: Address,
    encryption: Option<Trust>,
    silence_max: Duration,
    sessions: Arc<Sessions>,
}

/// What all clones share.
#[derive(Debug, Default)]
struct Sessions {
    idle: Mutex<Vec<Idle>>,
    heard: Arc<LastHeard>,
}

#[derive(Debug)]
struct Idle {
    session: Session,
    since: Instant,
}

impl Server {
    /// The server at `address`. `encryption` is what the server must prove before anything is said to it, and `None`
    /// without encryption, for trusted networks; `silence_max` is the longest time without a sign of it.
    pub fn new(address: Address, encryption: Option<Trust>, silence_max: Duration) -> Self {
        Self { address, encryption, silence_max, sessions: Arc::default() }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A session in which `request` has been asked, so that its answer comes next: an idle one, or else a new one,
    /// whose preface goes out together with the request.
    pub(super) async fn ask(&self, request: &Request) -> Result<Session, SessionError> {
        while let Some(mut session) = self.take_idle() {
            if session.ask(request).await.is_ok() {
                return Ok(session);
            }
        }
        let encryption = self.encryption.as_ref();
        let opened = Session::open(&self.address, encryption, Some(request), self.silence_max);
        Ok(opened.await?.noting(Arc::clone(&self.sessions.heard)))
    }

    /// Like `ask`, but while the server is still heard over any session, a failure that may pass is taken for "no free
    /// place" and retried.
    async fn ask_in_turn(&self, request: &Request) -> Result<Session, SessionError> {
        loop {
            match self.ask(request).await {
                Err(error) if error.is_retryable() && self.is_heard() => sleep(PLACE_POLL).await,
                asked => return asked,
            }
        }
    }

    fn is_heard(&self) -> bool {
        self.sessions.heard.is_within(self.silence_max)
    }

    /// Asks what the file `name` is.
    pub(super) async fn look_up(&self, name: &RemoteName) -> Result<(Session, Info), SessionError> {
        self.described(self.ask(&stat(name)).await?).await
    }

    /// Like `look_up`, but waits while the server has no place for another session and still serves others.
    pub(super) async fn look_up_in_turn(
        &self,
        name: &RemoteName,
    ) -> Result<(Session, Info), SessionError> {
        self.described(self.ask_in_turn(&stat(name)).await?).await
    }

    async fn described(&self, mut session: Session) -> Result<(Session, Info), SessionError> {
        match session.next().await? {
            Frame::Answer(Answer::Info(info)) => Ok((session, info)),
            other => {
                let error = other.into_error();
                // A session is not reused after an error that another session might not meet.
                if !error.is_retryable() {
                    self.give_back(session);
                }
                Err(error)
            }
        }
    }

    /// Takes back a session in which every request has been answered.
    pub(super) fn give_back(&self, session: Session) {
        self.idle().push(Idle { session, since: Instant::now() });
    }

    /// Remembers what the server has just proved, and reports it if it is new: before anything else is done, so that
    /// whatever ends this run, the next one knows the server.
    pub(super) async fn tell_trust(&self, monitor: &dyn Monitor) -> Result<(), SessionError> {
        if let Some(trust) = &self.encryption
            && let Some(news) = trust.note().await?
        {
            monitor.on_event(&Event::Trusted { news: &news });
        }
        Ok(())
    }

    /// The one that was used last, if it can be used again.
    pub(super) fn take_idle(&self) -> Option<Session> {
        let mut idle = self.idle();
        while let Some(Idle { mut session, since }) = idle.pop() {
            if since.elapsed() < IDLE_MAX && session.is_quiet() {
                return Some(session);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.sessions.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stat(name: &RemoteName) -> Request {
    Request::Stat { name: name.clone() }
}
