//! What both directions of a connection share: where keys come from, and what one owes the peer because of the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, Error, InvalidMessage};

use super::RecordKey;

/// Held for moments only, by whichever direction needs it.
pub(in crate::tls) struct Link(Mutex<State>);

/// Which end of the connection this is, with the TLS library's state for it.
pub(in crate::tls) enum Side {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

struct State {
    side: Side,
    owes_key_update: bool,
    last_word: AlertDescription,
}

impl Link {
    pub(in crate::tls) fn new(side: Side) -> Self {
        let last_word = AlertDescription::CloseNotify;
        Self(Mutex::new(State { side, owes_key_update: false, last_word }))
    }

    /// The key with which the peer seals from now on.
    pub(super) fn next_opening_key(&self) -> Result<RecordKey, Error> {
        RecordKey::new(match &mut self.state().side {
            Side::Client(connection) => connection.update_rx_secret(),
            Side::Server(connection) => connection.update_rx_secret(),
        }?)
    }

    /// The next sealing key, to use after the peer has been sent a `KeyUpdate`.
    pub(super) fn next_sealing_key(&self) -> Result<RecordKey, Error> {
        RecordKey::new(match &mut self.state().side {
            Side::Client(connection) => connection.update_tx_secret(),
            Side::Server(connection) => connection.update_tx_secret(),
        }?)
    }

    /// Keeps a ticket with which the session can be resumed; only a server has them to give.
    pub(super) fn keep_ticket(&self, ticket: &[u8]) -> Result<(), Error> {
        match &mut self.state().side {
            Side::Client(connection) => connection.handle_new_session_ticket(ticket),
            Side::Server(_) => Err(InvalidMessage::UnexpectedMessage("a client's ticket").into()),
        }
    }

    /// The peer is to get a key update before anything else is sealed.
    pub(super) fn owe_key_update(&self) {
        self.state().owes_key_update = true;
    }

    /// Whether the peer is to get a key update now; asking clears the debt.
    pub(super) fn pay_key_update(&self) -> bool {
        std::mem::take(&mut self.state().owes_key_update)
    }

    /// The connection is to end with this alert.
    pub(super) fn end_with(&self, alert: AlertDescription) {
        self.state().last_word = alert;
    }

    /// With which alert the connection is to end.
    pub(super) fn last_word(&self) -> AlertDescription {
        self.state().last_word
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
