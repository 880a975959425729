//! What every step of a connection knows: who is there, what they have proved, and the server. What they ask for is
//! noted here, once, whichever face it comes over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use towline_net::source::Source;
use towline_proto::sniff::Face;

use crate::auth::{Caller, Login, LoginRefused, Revoked};
use crate::budgets::Busy;
use crate::metrics::Limit;
use crate::records::{Asked, Event, Outcome, ProofKind, RequestRecord};
use crate::server::Server;

/// A connection whose peer may ask for something.
pub(crate) struct Session {
    pub(crate) peer: SocketAddr,
    pub(crate) server: Arc<Server>,
    /// Whether secrets may be told.
    pub(crate) is_encrypted: bool,
    /// What the peer speaks, once that is known.
    pub(crate) face: Option<Face>,
    /// What the peer has proved.
    login: Mutex<Login>,
    /// Bytes of content that went out.
    sent: AtomicU64,
}

/// A request under way. It is noted in the metrics and the access log when it ends, also where that is because the
/// connection did.
pub(crate) struct OpenRequest<'a> {
    session: &'a Session,
    asked: Asked,
    /// Who asked, unless they have proved to be somebody meanwhile.
    who: Option<String>,
    began: Instant,
    sent_before: u64,
    outcome: Outcome,
}

impl Session {
    pub(crate) fn new(peer: SocketAddr, server: Arc<Server>) -> Self {
        let (login, sent) = (Mutex::default(), AtomicU64::new(0));
        Self { peer, server, is_encrypted: false, face: None, login, sent }
    }

    /// Whom the connection counts against.
    pub(crate) fn source(&self) -> Source {
        Source::of(self.peer)
    }

    /// Whether this server speaks as the peer does. What is not encrypted may be so no more after a reload.
    pub(crate) fn is_spoken(&self) -> bool {
        let faces = self.server.faces.load();
        self.is_encrypted || self.face.is_some_and(|face| faces.in_the_clear(face))
    }

    /// Who asks, with the rights that they have now.
    pub(crate) fn caller(&self) -> Result<Caller, Revoked> {
        if !self.is_spoken() {
            return Err(Revoked::InTheClear);
        }
        let login = self.login.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match &login {
            Login::Certificate(certificate) if !self.server.tls.vouches_for(certificate) => {
                Err(Revoked::Login)
            }
            login => self.server.gate.caller(login, self.peer),
        }
    }

    /// Takes note that something is asked for, and waits until that may be answered, unless that would be long.
    pub(crate) async fn admit(&self) -> Result<(), Busy> {
        let waited = self.server.requests.admit(self.source()).await;
        if waited != Ok(Duration::ZERO) {
            self.server.metrics.count_limit(Limit::Requests);
        }
        waited.map(drop)
    }

    /// From now on the peer is who this proves, and nobody else.
    pub(crate) fn log_in(&self, login: Login, by: ProofKind) {
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = login;
        match self.caller() {
            Ok(caller) => self.note_login(&caller.to_string(), by, Ok(())),
            Err(revoked) => self.note_login("unknown", by, Err(revoked.into())),
        }
    }

    /// Takes note of a proof that let nobody in; `who` is whom it was said to be about.
    pub(crate) fn refuse_login(&self, who: &str, by: ProofKind, refused: LoginRefused) {
        self.note_login(who, by, Err(refused));
    }

    fn note_login(&self, who: &str, by: ProofKind, outcome: Result<(), LoginRefused>) {
        let Server { metrics, records, .. } = &*self.server;
        metrics.count_login(by, outcome);
        if let Err(LoginRefused::TooManyFailures | LoginRefused::Busy) = outcome {
            metrics.count_limit(Limit::Logins);
        }
        let refused = outcome.err().map(|refused| refused.to_string());
        let refused = refused.as_deref();
        records.note(&Event::Login { peer: self.peer, who, by, refused });
    }

    /// What the peer is called now; `None` where what they have proved is worth nothing any more.
    fn principal(&self) -> Option<String> {
        self.caller().ok().map(|caller| caller.to_string())
    }

    /// Begins to note a request.
    pub(crate) fn enter(&self, asked: Asked) -> OpenRequest<'_> {
        let (began, sent_before) = (Instant::now(), self.sent.load(Ordering::Relaxed));
        let who = self.principal();
        OpenRequest { session: self, asked, who, began, sent_before, outcome: Outcome::Broken }
    }

    /// Counts content that went out.
    pub(crate) fn count_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.server.metrics.count_sent(bytes);
    }
}

impl OpenRequest<'_> {
    /// Notes what came of it.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        let session = self.session;
        let record = RequestRecord {
            asked: &self.asked,
            peer: session.peer,
            is_encrypted: session.is_encrypted,
            principal: session.principal().or_else(|| self.who.take()),
            outcome: self.outcome,
            sent: session.sent.load(Ordering::Relaxed) - self.sent_before,
            took: self.began.elapsed(),
        };
        session.server.metrics.count_request(&record);
        session.server.records.note_request(&record);
    }
}
