//! What the peer sends: records are read from the socket many at once, and opened into the reader's own buffer.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, ContentType, Error, HandshakeType, InvalidMessage, PeerMisbehaved};
use tokio::io::{AsyncRead, ReadBuf};

use super::key::{check_header, inner_bytes};
use super::{HEADER_BYTES, Link, RecordKey, record_bytes};

/// Bytes of a message between the two TLS ends, after the handshake: a ticket, mostly.
const MESSAGE_BYTES_MAX: usize = 16 * 1_024;

/// What stands before such a message: its type, and its length.
const MESSAGE_HEADER_BYTES: usize = 4;

/// Key updates that are borne without a byte of content between them, each of which takes some work.
const KEY_UPDATES_MAX: u32 = 32;

/// Records that bring nothing and are borne in a row: those of no content at all, and alerts that say nothing.
const EMPTY_RECORDS_MAX: u32 = 32;

/// One direction of a connection, incoming.
pub(in crate::tls) struct Opening {
    key: RecordKey,
    /// What came from the socket; none of it outside of `waiting` is of use any more.
    buffer: Vec<u8>,
    /// Of the buffer, what is not opened yet.
    waiting: Range<usize>,
    /// Of the buffer, what is opened and not read yet.
    plain: Range<usize>,
    /// Bytes to read from the socket at once; a record that is larger is waited for all the same.
    read_bytes: usize,
    /// A message whose end has not come.
    message: Vec<u8>,
    key_updates: u32,
    empty_records: u32,
    state: State,
}

/// Whether there is more to come.
enum State {
    Open,
    /// The peer has said that this was all.
    Ended,
    /// Nothing that follows can be believed.
    Failed(Error),
}

impl Opening {
    /// Begins with what came behind the handshake.
    pub(in crate::tls) fn new(key: RecordKey, came: Vec<u8>, read_bytes: usize) -> Self {
        Self {
            key,
            waiting: 0..came.len(),
            buffer: came,
            plain: 0..0,
            read_bytes,
            message: Vec::new(),
            key_updates: 0,
            empty_records: 0,
            state: State::Open,
        }
    }

    /// Reads some content; none at the end, which the peer has confirmed.
    pub(in crate::tls) fn poll_read(
        &mut self,
        mut socket: Pin<&mut impl AsyncRead>,
        link: &Link,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = target.filled().len();
        loop {
            self.hand_out(target);
            if target.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match self.open_next(link, target) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    link.end_with(alert_for(&error));
                    self.state = State::Failed(error);
                }
            }
            if target.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            match &self.state {
                State::Open => ready!(self.poll_receive(socket.as_mut(), context))?,
                State::Ended => return Poll::Ready(Ok(())),
                State::Failed(error) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        error.clone(),
                    )));
                }
            }
        }
    }

    /// Gives the reader what did not fit into its buffer before.
    fn hand_out(&mut self, target: &mut ReadBuf<'_>) {
        let length = self.plain.len().min(target.remaining());
        target.put_slice(&self.buffer[self.plain.start..][..length]);
        self.plain.start += length;
    }

    /// Opens the next record if it has come whole, and tells whether it has.
    fn open_next(&mut self, link: &Link, target: &mut ReadBuf<'_>) -> Result<bool, Error> {
        if !matches!(self.state, State::Open) {
            return Ok(false);
        }
        let waiting = &mut self.buffer[self.waiting.clone()];
        let Some(length) = record_bytes(waiting) else { return Ok(false) };
        check_header(waiting)?;
        let Some(record) = waiting.get_mut(..length) else { return Ok(false) };
        let content = self.waiting.start + HEADER_BYTES;
        self.waiting.start += length;
        let filled = target.filled().len();
        // Only what is initialised already is opened into at once: doing so here would be a pass of its own.
        let room = &mut target.initialized_mut()[filled..];
        if room.len() >= inner_bytes(record) {
            let (kind, length) = self.key.open_into(record, room)?;
            if kind == ContentType::ApplicationData {
                self.take_content(length)?;
                target.set_filled(filled + length);
            } else {
                let bytes = room[..length].to_vec();
                self.take_message(kind, &bytes, link)?;
            }
            return Ok(true);
        }
        let (kind, length) = self.key.open(record)?;
        if kind == ContentType::ApplicationData {
            self.take_content(length)?;
            self.plain = content..content + length;
        } else {
            let bytes = self.buffer[content..content + length].to_vec();
            self.take_message(kind, &bytes, link)?;
        }
        Ok(true)
    }

    /// Content has come, which may be of no bytes and may not interrupt a message.
    fn take_content(&mut self, length: usize) -> Result<(), Error> {
        if !self.message.is_empty() {
            return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
        }
        if length > 0 {
            (self.key_updates, self.empty_records) = (0, 0);
            return Ok(());
        }
        self.take_nothing()
    }

    /// A record has come that brings nothing, and is borne unless there were too many of them.
    fn take_nothing(&mut self) -> Result<(), Error> {
        self.empty_records += 1;
        if self.empty_records > EMPTY_RECORDS_MAX {
            return Err(PeerMisbehaved::TooManyEmptyFragments.into());
        }
        Ok(())
    }

    /// Something else has come.
    fn take_message(&mut self, kind: ContentType, bytes: &[u8], link: &Link) -> Result<(), Error> {
        match kind {
            ContentType::Alert if self.message.is_empty() => self.take_alert(bytes),
            ContentType::Handshake if bytes.is_empty() => {
                Err(InvalidMessage::InvalidEmptyPayload.into())
            }
            ContentType::Handshake => {
                self.message.extend_from_slice(bytes);
                self.take_handshake(link)
            }
            _ => Err(InvalidMessage::UnexpectedMessage("a record of another kind").into()),
        }
    }

    fn take_alert(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // Since TLS 1.3, the level says nothing (RFC 8446, section 6).
        let &[_level, description] = bytes else {
            return Err(InvalidMessage::MessageTooShort.into());
        };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => {
                self.state = State::Ended;
                Ok(())
            }
            // The end is announced, and follows.
            AlertDescription::UserCanceled => self.take_nothing(),
            alert => Err(Error::AlertReceived(alert)),
        }
    }

    /// Takes the messages that have come whole.
    fn take_handshake(&mut self, link: &Link) -> Result<(), Error> {
        while let Some(&[kind, high, middle, low]) = self.message.first_chunk() {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > MESSAGE_BYTES_MAX {
                return Err(InvalidMessage::HandshakePayloadTooLarge.into());
            }
            let Some(body) = self.message.get(MESSAGE_HEADER_BYTES..MESSAGE_HEADER_BYTES + length)
            else {
                return Ok(());
            };
            match HandshakeType::from(kind) {
                HandshakeType::NewSessionTicket => link.keep_ticket(body)?,
                HandshakeType::KeyUpdate => {
                    // What follows in the same record would have been sealed with the wrong key.
                    if self.message.len() > MESSAGE_HEADER_BYTES + length {
                        return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
                    }
                    let is_asked_for = match body {
                        [0] => false,
                        [1] => true,
                        _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
                    };
                    self.key_updates += 1;
                    if self.key_updates > KEY_UPDATES_MAX {
                        return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into());
                    }
                    self.key = link.next_opening_key()?;
                    if is_asked_for {
                        link.owe_key_update();
                    }
                }
                _ => return Err(InvalidMessage::UnexpectedMessage("a handshake's").into()),
            }
            self.message.drain(..MESSAGE_HEADER_BYTES + length);
        }
        Ok(())
    }

    /// Receives what the socket has; what is opened was read before.
    fn poll_receive(
        &mut self,
        socket: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // The beginning of a record, if anything.
        let begun = self.waiting.len();
        let needed = record_bytes(&self.buffer[self.waiting.clone()]).unwrap_or(HEADER_BYTES);
        if self.buffer.len() < needed.max(self.read_bytes) {
            // Zeroed by the system, which gives memory only to what is used of it.
            let mut larger = vec![0; needed.max(self.read_bytes)];
            larger[..begun].copy_from_slice(&self.buffer[self.waiting.clone()]);
            self.buffer = larger;
        } else {
            self.buffer.copy_within(self.waiting.clone(), 0);
        }
        (self.waiting, self.plain) = (0..begun, 0..0);
        let mut room = ReadBuf::new(&mut self.buffer[self.waiting.end..]);
        ready!(socket.poll_read(context, &mut room))?;
        let received = room.filled().len();
        if received == 0 {
            let truncated = "the peer closed the connection without saying that this was all";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated)));
        }
        self.waiting.end += received;
        Poll::Ready(Ok(()))
    }
}

/// What the peer is told about its mistake (RFC 8446, section 6.2).
fn alert_for(error: &Error) -> AlertDescription {
    match error {
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        // The peer has ended it.
        Error::AlertReceived(_) => AlertDescription::CloseNotify,
        Error::InvalidMessage(InvalidMessage::UnexpectedMessage(_)) | Error::PeerMisbehaved(_) => {
            AlertDescription::UnexpectedMessage
        }
        Error::InvalidMessage(invalid) => (*invalid).into(),
        _ => AlertDescription::InternalError,
    }
}
