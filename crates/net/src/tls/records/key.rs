//! The key of one direction, and the number of its next record.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{Iv, Nonce, make_tls13_aad};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, InvalidMessage, PeerMisbehaved};

use super::{HEADER_BYTES, PLAIN_BYTES_MAX, SEALED_BYTES_MAX, TAG_BYTES, TYPE_BYTES};

/// How a record begins: what it says of type and version is the same for all (RFC 8446, section 5.2).
const BEGINNING: [u8; 3] = [23, 3, 3];

/// Records that one key may seal with AES-GCM: 2^24.5 keep the odds of whoever listens negligible (RFC 8446, section 5.5).
const RECORDS_A_KEY_MAX: u64 = 1 << 24;

/// Seals or opens the records of one direction, in order.
pub(in crate::tls) struct RecordKey {
    aead: LessSafeKey,
    iv: Iv,
    /// No number comes twice: it is counted up before it is used.
    next: u64,
}

impl RecordKey {
    /// From what a handshake or a key update leads to: the next record's number, and the secrets.
    pub(in crate::tls) fn new(
        (next, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("a cipher that was not offered".into())),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Error::EncryptError)?;
        Ok(Self { aead: LessSafeKey::new(key), iv, next })
    }

    /// Whether it has sealed as many records as it may.
    pub(super) fn is_worn(&self) -> bool {
        self.next >= RECORDS_A_KEY_MAX
    }

    /// Seals a record in place: `record` holds the plaintext, with room around it for the rest
    /// ([`super::AROUND_BYTES`]).
    pub(super) fn seal(&mut self, kind: ContentType, record: &mut [u8]) -> Result<(), Error> {
        let (header, sealed) = record.split_at_mut(HEADER_BYTES);
        let aad = make_tls13_aad(sealed.len());
        header.copy_from_slice(&aad);
        let (inner, tag) = sealed.split_at_mut(sealed.len() - TAG_BYTES);
        inner[inner.len() - TYPE_BYTES] = kind.into();
        let nonce = self.take_nonce()?;
        let made = self.aead.seal_in_place_separate_tag(nonce, Aad::from(aad), inner);
        tag.copy_from_slice(made.map_err(|_| Error::EncryptError)?.as_ref());
        Ok(())
    }

    /// Opens a record in place; returns its content's type and length. The content begins behind the header.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(ContentType, usize), Error> {
        let (aad, sealed) = parts(record)?;
        let nonce = self.take_nonce()?;
        let inner = self.aead.open_in_place(nonce, Aad::from(aad), sealed);
        unpadded(inner.map_err(|_| Error::DecryptError)?)
    }

    /// Opens a record into the beginning of `target`, which has room for [`inner_bytes`].
    pub(super) fn open_into(
        &mut self,
        record: &mut [u8],
        target: &mut [u8],
    ) -> Result<(ContentType, usize), Error> {
        let (aad, sealed) = parts(record)?;
        let nonce = self.take_nonce()?;
        let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG_BYTES);
        let inner = &mut target[..ciphertext.len()];
        self.aead
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, inner)
            .map_err(|_| Error::DecryptError)?;
        unpadded(inner)
    }

    fn take_nonce(&mut self) -> Result<aws_lc_rs::aead::Nonce, Error> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(Error::EncryptError)?;
        let nonce = Nonce::new(&self.iv, number).0;
        Ok(aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce))
    }
}

/// The length of the record that begins here, header and all; `None` where that has not come yet.
pub(in crate::tls) fn record_bytes(begun: &[u8]) -> Option<usize> {
    let length = begun.get(3..HEADER_BYTES)?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// The length of a whole record's plaintext, with its type and padding.
pub(super) fn inner_bytes(record: &[u8]) -> usize {
    record.len().saturating_sub(HEADER_BYTES + TAG_BYTES)
}

/// Fails unless this header can begin a record.
pub(super) fn check_header(header: &[u8]) -> Result<(), Error> {
    if !header.starts_with(&BEGINNING) {
        return Err(InvalidMessage::UnexpectedMessage("no encrypted record").into());
    }
    match record_bytes(header) {
        Some(length) if length > HEADER_BYTES + SEALED_BYTES_MAX => {
            Err(Error::PeerSentOversizedRecord)
        }
        _ => Ok(()),
    }
}

/// Splits a whole record into its header, which the tag covers too, and its ciphertext with the tag.
fn parts(record: &mut [u8]) -> Result<([u8; HEADER_BYTES], &mut [u8]), Error> {
    let (header, sealed) = record.split_at_mut(HEADER_BYTES);
    if sealed.len() < TAG_BYTES {
        return Err(Error::DecryptError);
    }
    let mut aad = [0; HEADER_BYTES];
    aad.copy_from_slice(header);
    Ok((aad, sealed))
}

/// What is in a record: zeros at its end are padding, and what stands before them is its type.
fn unpadded(inner: &[u8]) -> Result<(ContentType, usize), Error> {
    let Some(length) = inner.iter().rposition(|byte| *byte != 0) else {
        return Err(PeerMisbehaved::IllegalTlsInnerPlaintext.into());
    };
    if inner.len() > PLAIN_BYTES_MAX + TYPE_BYTES {
        return Err(Error::PeerSentOversizedRecord);
    }
    Ok((ContentType::from(inner[length]), length))
}
