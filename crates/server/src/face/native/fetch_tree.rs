//! Answering `FetchTree`: files are read some way ahead of what is being sent, where there is room for that.

use std::io;
use std::iter::Peekable;

use tokio::task::{JoinHandle, spawn_blocking};
use towline_proto::limits::DATA_BYTES_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::frame::data_header;
use towline_proto::native::message::tree::{Content, FetchTree};
use towline_proto::native::message::{Answer, paths};

use super::heartbeats::with_heartbeats;
use super::refusal::{Failure, of_small_file};
use super::requests::Wanted;
use super::sender::Sender;
use crate::auth::Caller;
use crate::budgets::{Busy, Place};
use crate::policy::Action;
use crate::service::{SmallFileReader, SmallFileRefused};
use crate::session::Session;

/// Bytes of answers that are read before they are sent, about.
const CHUNK_BYTES: usize = 256 * 1_024;

/// Bytes of files that are read for one chunk, about, where only their hashes are sent.
const HASHED_BYTES: usize = 4 << 20;

/// Memory that reading a chunk may take: the chunk, its last file that goes beyond it, and that file as it is read.
const READING_BYTES: usize = CHUNK_BYTES + 2 * DATA_BYTES_MAX;

/// Reads files into answers, for one thread at a time.
struct Reader {
    files: SmallFileReader,
    paths: Peekable<paths::IntoIter>,
    asked: Content,
    wanted: Wanted,
    content: Vec<u8>,
}

/// The next chunk.
enum Next {
    /// It is being read.
    UnderWay(JoinHandle<(Reader, Chunk)>),
    /// It is read when the one before it has gone out.
    Later(Box<Reader>),
}

/// What a chunk is read with.
struct Means {
    room: Place,
    /// Where nothing but hashes is sent, what bounds the work is not the network.
    hashing: Option<Place>,
}

/// Answers that are ready to be sent, all about files of one share.
struct Chunk {
    bytes: Vec<u8>,
    share: Option<RemoteName>,
    /// Bytes of the files themselves.
    content_bytes: u64,
    /// How many of the files could not be read.
    refused: usize,
    is_last: bool,
    /// For the bytes, and for what the reader keeps until it has room of its own.
    room: Place,
}

/// Sends files one after the other; one that cannot be sent is refused alone.
pub(super) async fn fetch_tree(
    fetch: FetchTree,
    wanted: &Wanted,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), Failure> {
    let FetchTree { folder, files: paths, content } = fetch;
    let (peer, count) = (session.peer, paths.len());
    let name = folder.as_ref().map_or_else(|| "the folder".into(), ToString::to_string);
    let Some(first) = paths.first() else {
        sender.queue(&Answer::Done);
        return Ok(());
    };
    // One that is too long below its folder is no name.
    let first = first.below(folder.as_ref()).unwrap_or(first);
    let transfer = session.server.transfers.begin_files(peer, first, count - 1);
    let files = session
        .server
        .service
        .small_files(&session.caller()?, folder)
        .await
        .map_err(|error| Failure::of_service(&name, &error))?;
    let paths = paths.into_iter().peekable();
    // There is room for content only once it is read.
    let reader =
        Reader { files, paths, asked: content, wanted: wanted.clone(), content: Vec::new() };
    let (mut next, mut spare, mut refused) = (Next::Later(Box::new(reader)), None, 0);
    while wanted.is_wanted() {
        let reading = match next {
            Next::UnderWay(reading) => reading,
            Next::Later(reader) => {
                // What was read before is on its way, and its memory given back, before there is a wait for more.
                spare = None;
                sender.flush().await?;
                let beginning = async {
                    let means = Means::wait(content, session).await?;
                    Ok::<_, Failure>(reader.begin(session.caller()?, means, Vec::new()))
                };
                with_heartbeats(beginning, sender, session).await??
            }
        };
        let read = with_heartbeats(reading, sender, session).await?;
        let (reader, mut chunk) = read.map_err(io::Error::from)?;
        // Looked up for each: what was proved may have been revoked, and rules may be others.
        let caller = session.caller()?;
        let payer = caller.payer(session.source());
        next = reader.read_ahead(caller, spare, session);
        chunk.room.shrink_to(chunk.bytes.capacity());
        let bytes = chunk.bytes.len() as u64;
        let granting = session.server.rates.acquire(&payer, chunk.share.as_ref(), bytes);
        with_heartbeats(granting, sender, session).await?;
        sender.send_frames(&chunk.bytes).await?;
        session.count_sent(chunk.content_bytes);
        let sent_bytes = transfer.add_sent(chunk.content_bytes);
        refused += chunk.refused;
        if chunk.is_last {
            tracing::info!(
                "{peer}: sent {sent_bytes} bytes of {count} files of {name}, {refused} refused"
            );
            sender.queue(&Answer::Done);
            return Ok(());
        }
        spare = Some(chunk);
    }
    Ok(())
}

impl Means {
    /// Waits for all that it takes.
    async fn wait(asked: Content, session: &Session) -> Result<Self, Busy> {
        let (budgets, source) = (&session.server.budgets, session.source());
        let room = budgets.small_files.take_soon(source, READING_BYTES).await?;
        // Whoever has a thread waits for no peer: room is waited for first.
        let hashing = match asked {
            Content::HashOnly => Some(budgets.hashing.take(source, 1).await),
            Content::Bytes => None,
        };
        Ok(Self { room, hashing })
    }
}

impl Reader {
    /// Begins to read while a chunk is sent, if there is room for both now. The buffer and room of the chunk that was
    /// sent before, `spare`, are reused. Hashes alone are quickly sent: reading ahead is not worth it.
    fn read_ahead(mut self, caller: Caller, spare: Option<Chunk>, session: &Session) -> Next {
        let buffer = spare.map_or_else(Vec::new, |spare| spare.bytes);
        let small_files = &session.server.budgets.small_files;
        if self.asked == Content::Bytes
            && self.paths.peek().is_some()
            && let Some(room) = small_files.try_take(session.source(), READING_BYTES)
        {
            return Next::UnderWay(self.begin(caller, Means { room, hashing: None }, buffer));
        }
        self.content = Vec::new();
        Next::Later(Box::new(self))
    }

    fn begin(mut self, caller: Caller, means: Means, buffer: Vec<u8>) -> JoinHandle<(Self, Chunk)> {
        spawn_blocking(move || {
            // Whoever asked may be gone by now, but the thread is taken all the same.
            let Means { room, hashing: _hashing } = means;
            if self.content.capacity() < DATA_BYTES_MAX {
                self.content = Vec::with_capacity(DATA_BYTES_MAX);
            }
            let chunk = self.fill(&caller, buffer, room);
            (self, chunk)
        })
    }

    /// The answers for the next files, up to where another share begins, or nothing is wanted any more.
    fn fill(&mut self, caller: &Caller, mut bytes: Vec<u8>, mut room: Place) -> Chunk {
        bytes.clear();
        let share = self.paths.peek().and_then(|path| self.files.share_of(path));
        let (mut read_bytes, mut content_bytes, mut refused, mut denied) = (0, 0, 0, Vec::new());
        while bytes.len() < CHUNK_BYTES
            && read_bytes < HASHED_BYTES
            && self.wanted.is_wanted()
            && let Some(path) = self.paths.next_if(|path| self.files.share_of(path) == share)
        {
            match self.files.read(caller, &path, &mut self.content) {
                Ok(file) => {
                    read_bytes += file.size;
                    bytes.extend_from_slice(&Answer::File(Ok(file)).encode());
                    if self.asked == Content::Bytes && !self.content.is_empty() {
                        bytes.extend_from_slice(&data_header(self.content.len()));
                        bytes.extend_from_slice(&self.content);
                        content_bytes += self.content.len() as u64;
                    }
                }
                Err(error) => {
                    tracing::debug!("{path} is not sent: {error}");
                    refused += 1;
                    bytes.extend_from_slice(
                        &Answer::File(Err(of_small_file(&path, &error))).encode(),
                    );
                    if matches!(error, SmallFileRefused::Denied(_)) {
                        denied.push(path);
                    }
                }
            }
        }
        self.note_denied(caller, &denied);
        self.files.stand_still();
        room.shrink_to(bytes.capacity() + self.content.capacity());
        let is_last = self.paths.peek().is_none();
        Chunk { bytes, share, content_bytes, refused, is_last, room }
    }

    /// Has it written down once that files were denied, however many.
    fn note_denied(&self, caller: &Caller, denied: &[RemoteName]) {
        if let Some((first, others)) = denied.split_first() {
            let name = self.files.name_of(first);
            caller.note_denied(Action::Read, name.as_ref(), others.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::native::message::paths::Paths;

    use super::super::requests::Queue;
    use super::super::testing::{session, write};
    use super::*;

    /// A reader of the file `file` again and again.
    async fn reader(session: &Session, times: usize, asked: Content, wanted: Wanted) -> Reader {
        let files = session.server.service.small_files(&session.caller().unwrap(), None).await;
        let paths: Paths = vec![RemoteName::parse(b"file").unwrap(); times].into_iter().collect();
        let paths = paths.into_iter().peekable();
        Reader { files: files.unwrap(), paths, asked, wanted, content: Vec::new() }
    }

    fn filled(reader: &mut Reader, session: &Session) -> Chunk {
        let room = session.server.budgets.small_files.try_take(session.source(), READING_BYTES);
        reader.fill(&session.caller().unwrap(), Vec::new(), room.unwrap())
    }

    #[tokio::test]
    async fn a_chunk_is_bounded_by_what_is_read_for_it() {
        let (session, folder) = session();
        write(&folder, "file", vec![7; DATA_BYTES_MAX]);
        let (_queue, queued) = Queue::new();
        for (asked, count) in [(Content::HashOnly, 4), (Content::Bytes, 1)] {
            let mut reader = reader(&session, 9, asked, queued.wanted(0)).await;
            let chunk = filled(&mut reader, &session);
            assert!(!chunk.is_last);
            assert_eq!(reader.paths.len(), 9 - count, "{asked:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_not_read() {
        let (session, folder) = session();
        write(&folder, "file", "content");
        let (_queue, queued) = Queue::new();
        let mut reader = reader(&session, 9, Content::HashOnly, queued.wanted(0)).await;
        drop(queued);
        let chunk = filled(&mut reader, &session);
        assert!(chunk.bytes.is_empty() && !chunk.is_last);
        assert_eq!(reader.paths.len(), 9);
    }

    #[tokio::test]
    async fn files_are_read_ahead_only_where_there_is_room() {
        let (session, folder) = session();
        write(&folder, "file", vec![7; DATA_BYTES_MAX]);
        let (small_files, source) = (&session.server.budgets.small_files, session.source());
        let (_queue, queued) = Queue::new();
        let mut reader = reader(&session, 9, Content::Bytes, queued.wanted(0)).await;
        let caller = || session.caller().unwrap();
        let first = filled(&mut reader, &session);
        let all = small_files.try_take(source, (48 << 20) - READING_BYTES);
        assert!(all.is_some());
        let Next::Later(reader) = reader.read_ahead(caller(), None, &session) else {
            panic!("it was read without room");
        };
        assert_eq!(reader.content.capacity(), 0);
        // One that has gone out leaves its room to the next.
        let Next::UnderWay(reading) = reader.read_ahead(caller(), Some(first), &session) else {
            panic!("it was not read ahead");
        };
        let (reader, chunk) = reading.await.unwrap();
        drop(all);
        // What is not needed any more was given back, and what is needed was not.
        let held = chunk.bytes.capacity() + reader.content.capacity();
        assert!((2 * DATA_BYTES_MAX..=READING_BYTES).contains(&held), "{held}");
        let rest = small_files.try_take(source, (48 << 20) - held);
        assert!(rest.is_some() && small_files.try_take(source, 1).is_none());
    }
}
