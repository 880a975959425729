//! Taking apart what comes in answer to requests for small files: frames are parsed where they lie, and files are
//! handed on in the buffer that they came in.

use std::collections::VecDeque;
use std::ops::Range;

use towline_proto::native::frame::{HEADER_BYTES, Header, Kind};
use towline_proto::native::message::tree::{Content, SmallFile};
use towline_proto::native::message::{Answer, Refusal};

use super::wanted::{Batch, Wanted};
use crate::native::session::{Frame, HEARTBEATS_MAX, SessionError};

/// Files in the buffer that they came in.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) buffer: Vec<u8>,
    /// Each with where its content is in the buffer.
    pub(super) files: Vec<(Wanted, SmallFile, Range<usize>)>,
}

/// What has come over one connection and is not handed on.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    arrived: Arrived,
    /// How much of the buffer is taken apart.
    parsed: usize,
    asked: VecDeque<Asked>,
    /// A file whose content comes next.
    begun: Option<(Wanted, SmallFile)>,
    refused: Vec<(Wanted, Content, Refusal)>,
    hashed: Vec<(Wanted, SmallFile)>,
    /// Since they were last asked for.
    content_bytes: u64,
    answered_files: usize,
    /// In a row.
    heartbeats: u32,
}

/// What of a request is not answered.
#[derive(Debug)]
struct Asked {
    files: VecDeque<Wanted>,
    content: Content,
}

impl Inbox {
    /// Takes note of a request.
    pub(super) fn asked_for(&mut self, batch: Batch) {
        let Batch { files, content } = batch;
        self.asked.push_back(Asked { files: files.into(), content });
    }

    /// Requests that are not answered whole.
    pub(super) fn requests(&self) -> usize {
        self.asked.len()
    }

    /// Where to put what comes.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.arrived.buffer
    }

    /// Bytes that are taken apart and not handed on.
    pub(super) fn parsed_bytes(&self) -> usize {
        self.parsed
    }

    /// Takes apart all frames that have come whole. Where one of them is an error, what came before it still counts.
    pub(super) fn parse(&mut self) -> Result<(), SessionError> {
        loop {
            let rest = &self.arrived.buffer[self.parsed..];
            let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else { break };
            let header = Header::decode(header)?;
            let Some(payload) = rest.get(..header.length) else { break };
            let start = self.parsed + HEADER_BYTES;
            self.parsed = start + header.length;
            if header.kind == Kind::Data {
                let (wanted, file) = self.begun.take().ok_or(SessionError::OutOfPlace)?;
                if file.size != header.length {
                    return Err(SessionError::OutOfPlace);
                }
                self.content_bytes += header.length as u64;
                self.arrived.files.push((wanted, file, start..self.parsed));
                continue;
            }
            header.check(payload)?;
            let answer = Answer::decode(header.kind, payload)?;
            self.take_note(answer)?;
        }
        Ok(())
    }

    fn take_note(&mut self, answer: Answer) -> Result<(), SessionError> {
        let request = self.asked.front_mut().ok_or(SessionError::OutOfPlace)?;
        if matches!(answer, Answer::Heartbeat) {
            self.heartbeats += 1;
            let is_borne = self.heartbeats <= HEARTBEATS_MAX;
            return is_borne.then_some(()).ok_or(SessionError::OnlyHeartbeats);
        }
        self.heartbeats = 0;
        match answer {
            _ if self.begun.is_some() => Err(SessionError::OutOfPlace),
            Answer::File(file) => {
                let wanted = request.files.pop_front().ok_or(SessionError::OutOfPlace)?;
                self.answered_files += 1;
                match file {
                    Ok(file) if request.content == Content::HashOnly => {
                        self.hashed.push((wanted, file));
                    }
                    Ok(file) if file.size == 0 => self.arrived.files.push((wanted, file, 0..0)),
                    Ok(file) => self.begun = Some((wanted, file)),
                    Err(refusal) => self.refused.push((wanted, request.content, refusal)),
                }
                Ok(())
            }
            Answer::Done if request.files.is_empty() => {
                self.asked.pop_front();
                Ok(())
            }
            other => Err(Frame::Answer(other).into_error()),
        }
    }

    /// Hands on what was taken apart; what comes goes on in another buffer.
    pub(super) fn hand_on(&mut self, mut empty: Vec<u8>) -> Arrived {
        empty.clear();
        empty.extend_from_slice(&self.arrived.buffer[self.parsed..]);
        self.parsed = 0;
        std::mem::replace(&mut self.arrived, Arrived { buffer: empty, files: Vec::new() })
    }

    /// How many bytes of content came, since this was last asked.
    pub(super) fn take_content_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.content_bytes)
    }

    /// How many files were answered, whatever the answers were, since this was last asked.
    pub(super) fn take_answered_files(&mut self) -> usize {
        std::mem::take(&mut self.answered_files)
    }

    /// Files that the server did not send, and what of them was asked for.
    pub(super) fn take_refused(&mut self) -> Vec<(Wanted, Content, Refusal)> {
        std::mem::take(&mut self.refused)
    }

    /// Files whose hashes came.
    pub(super) fn take_hashed(&mut self) -> Vec<(Wanted, SmallFile)> {
        std::mem::take(&mut self.hashed)
    }

    /// What another connection must ask for, where this one is lost; what has come whole is still here.
    pub(super) fn lost(&mut self) -> impl Iterator<Item = Batch> {
        let begun = self.begun.take().map(|(wanted, _)| wanted);
        // What was not taken apart belongs to the lost connection.
        self.arrived.buffer.truncate(self.parsed);
        let begun = Batch { files: begun.into_iter().collect(), content: Content::Bytes };
        let asked = self.asked.drain(..);
        let asked = asked.map(|Asked { files, content }| Batch { files: files.into(), content });
        std::iter::once(begun).chain(asked).filter(|batch| !batch.files.is_empty())
    }
}
