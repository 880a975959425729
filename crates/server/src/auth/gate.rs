//! Letting people in: proofs are checked one way, take alike whether they are right or wrong, and cost more the
//! more of them fail.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use towline_net::source::Source;
use towline_net::tls::client_auth::ClientCertificate;
use towline_proto::name::RemoteName;
use towline_proto::native::message::{Proof, Secret};

use super::login_queues::LoginQueues;
use super::password;
use super::password_cache::PasswordCache;
use super::terms::Terms;
use super::token::Fingerprint;
use crate::policy::{Action, Principal};
use crate::rates::Payer;
use crate::records::{Event, Records};
use crate::shares::Shares;

/// Passwords that are compared at once: each takes some 20 MiB.
const COMPARED_MAX: usize = 2;

/// Who comes in, and by what right.
#[derive(Debug)]
pub(crate) struct Gate {
    terms: ArcSwap<Terms>,
    records: Arc<Records>,
    queues: LoginQueues,
    known_passwords: PasswordCache,
    comparing: Arc<Semaphore>,
}

/// What somebody has proved. What that is worth is looked up when it matters: see [`Gate::caller`].
#[derive(Clone, Debug, Default)]
pub(crate) enum Login {
    /// Nothing.
    #[default]
    Nobody,
    /// To know a user's password, which then had this hash.
    Password { user: String, hash: Arc<str> },
    /// To have a token.
    Token(Fingerprint),
    /// To have the key of a client certificate.
    Certificate(Arc<ClientCertificate>),
}

/// Why nobody was let in. A user who is not there, a wrong password and a wrong token are one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginRefused {
    #[error("wrong user, password or token")]
    Wrong,
    #[error("too many logins from there failed; wait a while")]
    TooManyFailures,
    #[error("too many others log in just now")]
    Busy,
    #[error(transparent)]
    Revoked(#[from] Revoked),
}

/// Somebody who asks for something, with what is served and the rules as they were then.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    peer: SocketAddr,
    principal: Principal,
    terms: Arc<Terms>,
    records: Arc<Records>,
}

/// What the rules do not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{principal} may not {action} {place}")]
pub(crate) struct Denied {
    principal: String,
    action: Action,
    place: String,
}

/// What held when a session began does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Revoked {
    /// What was proved proves nothing: it was revoked, or its time is over.
    #[error(
        "the login has ended: the password was changed, or the token or certificate was revoked or has expired"
    )]
    Login,
    /// What the peer speaks without encryption is not spoken so.
    #[error("this server does not speak that without encryption any more")]
    InTheClear,
}

impl Gate {
    /// Lets in whom these `terms` know, and records denials.
    pub(crate) fn new(terms: Terms, records: Arc<Records>) -> Self {
        Self {
            terms: ArcSwap::from_pointee(terms),
            records,
            queues: LoginQueues::default(),
            known_passwords: PasswordCache::new(),
            comparing: Arc::new(Semaphore::new(COMPARED_MAX)),
        }
    }

    /// Replaces the terms with `change(current)`; open sessions see it at once.
    pub(crate) fn replace(&self, change: impl Fn(&Terms) -> Terms) {
        let before = self.terms.rcu(|terms| change(terms));
        let changes = self.terms.load().access.credentials_changed_since(&before.access);
        for change in changes {
            self.records.note(&Event::Credentials { change: &change });
        }
    }

    /// Whoever has proved this, with the rights that they have now.
    pub(crate) fn caller(&self, login: &Login, peer: SocketAddr) -> Result<Caller, Revoked> {
        let terms = self.terms.load_full();
        let principal = terms.access.principal(login, Timestamp::now()).ok_or(Revoked::Login)?;
        Ok(Caller { peer, principal, terms, records: Arc::clone(&self.records) })
    }

    fn is_good(&self, login: &Login) -> bool {
        self.terms.load().access.principal(login, Timestamp::now()).is_some()
    }

    /// Checks a proof. What is right lets in at once; what is not, or must be computed first, has its turn after
    /// others from that source, up to `turn_max`, and waits longer the more of them have failed.
    pub(crate) async fn log_in(
        &self,
        source: Source,
        proof: Proof,
        turn_max: Duration,
    ) -> Result<Login, LoginRefused> {
        if let Some(login) = self.known(&proof) {
            return Ok(login);
        }
        let deadline = Instant::now() + turn_max;
        let turn = timeout_at(deadline, self.queues.turn(source)).await;
        let turn = turn.map_err(|_| LoginRefused::TooManyFailures)?;
        // Whoever had the turn before may have proved the same.
        let login = match (self.known(&proof), proof) {
            (Some(login), _) => Some(login),
            (None, Proof::Token(_)) => None,
            (None, Proof::Password { user, password }) => {
                let place = Arc::clone(&self.comparing).acquire_owned();
                let Ok(Ok(place)) = timeout_at(deadline, place).await else {
                    turn.costs_nothing();
                    return Err(LoginRefused::Busy);
                };
                self.compare(user, password, place).await
            }
        };
        let login = login.filter(|login| self.is_good(login)).ok_or(LoginRefused::Wrong)?;
        turn.costs_nothing();
        Ok(login)
    }

    /// A login for which nothing need be computed: nobody guesses a token, and a password that was compared a moment
    /// ago is the same still.
    fn known(&self, proof: &Proof) -> Option<Login> {
        let login = match proof {
            Proof::Token(token) => Login::Token(Fingerprint::of(token.reveal())),
            Proof::Password { user, password } => {
                let hash = self.known_passwords.hash_of(user, password)?;
                Login::Password { user: user.clone(), hash }
            }
        };
        self.is_good(&login).then_some(login)
    }

    /// Compares a password with its user's; takes as long where there is none.
    async fn compare(
        &self,
        user: String,
        password: Secret,
        place: OwnedSemaphorePermit,
    ) -> Option<Login> {
        let hash: Option<Arc<str>> = self.terms.load().access.password_of(&user).map(Into::into);
        let (guess, compared) = (password.clone(), hash.clone());
        let compare = move || {
            // Whoever asked may be gone by now, but the memory is taken all the same.
            let _place = place;
            password::verify(guess.reveal(), compared.as_deref())
        };
        let is_right = spawn_blocking(compare).await.ok()?;
        let hash = hash.filter(|_| is_right)?;
        self.known_passwords.remember(&user, &password, &hash);
        Some(Login::Password { user, hash })
    }
}

impl Caller {
    /// Refuses what the rules do not allow, and records that; `None` is what is above all names.
    pub(crate) fn check(&self, action: Action, name: Option<&RemoteName>) -> Result<(), Denied> {
        self.allows(action, name).inspect_err(|_| self.note_denied(action, name, 0))
    }

    /// Like [`Self::check`] but records nothing, for requests that may meet many denials: see [`Self::note_denied`].
    pub(crate) fn allows(&self, action: Action, name: Option<&RemoteName>) -> Result<(), Denied> {
        if self.terms.access.policy().allows(&self.principal, action, name) {
            return Ok(());
        }
        let place = name.map_or_else(|| "the folder".into(), ToString::to_string);
        Err(Denied { principal: self.principal.to_string(), action, place })
    }

    /// Writes down that a request was denied something, and so many `others`.
    pub(crate) fn note_denied(&self, action: Action, name: Option<&RemoteName>, others: usize) {
        let who = self.principal.to_string();
        let (peer, who) = (self.peer, &*who);
        self.records.note(&Event::Denied { peer, who, action, name, others });
    }

    /// Whether what is at a normalised path is shown in listings.
    pub(crate) fn sees(&self, path: &[u8]) -> bool {
        self.terms.access.policy().allows_at(&self.principal, Action::List, path)
    }

    /// Whether that is so of everything.
    pub(crate) fn sees_everything(&self) -> bool {
        self.terms.access.policy().allows_everywhere(&self.principal, Action::List)
    }

    /// Whether there are shares under names that may be listed: then what is above them shows just those, and need not
    /// be allowed itself.
    pub(crate) fn sees_a_share(&self) -> bool {
        self.shares().names().any(|share| self.sees(share.as_bytes()))
    }

    /// Whether every file may be read, so that none need be checked.
    pub(crate) fn reads_everything(&self) -> bool {
        self.terms.access.policy().allows_everywhere(&self.principal, Action::Read)
    }

    /// What is served.
    pub(crate) fn shares(&self) -> &Arc<Shares> {
        &self.terms.shares
    }

    /// Whether this and another caller of the same session are the same, with the same rights to the same.
    pub(crate) fn is_still(&self, other: &Self) -> bool {
        self.terms.are(&other.terms)
    }

    /// The source whose budgets this caller uses.
    pub(crate) fn source(&self) -> Source {
        Source::of(self.peer)
    }

    /// Who is charged for bytes that are sent to `source`.
    pub(crate) fn payer(&self, source: Source) -> Payer {
        match self.principal.account() {
            Some(name) => Payer::User(name),
            None => Payer::Source(source),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.principal.fmt(f)
    }
}
