//! Answering requests, one after the other.

use std::ops::Range;

use tokio::task::coop::consume_budget;
use tokio::time::timeout;
use towline_proto::escape::Escaped;
use towline_proto::limits::DATA_BYTES_MAX;
use towline_proto::name::RemoteName;
use towline_proto::native::message::{Answer, ErrorCode, Proof, Request, Version};
use towline_proto::piece::{Geometry, PieceHash};
use towline_store::local::Extent;

use super::NativeError;
use super::heartbeats::with_heartbeats;
use super::list::Kept;
use super::refusal::{Failure, last_words};
use super::requests::{Queued, Wanted};
use super::sender::Sender;
use crate::auth::LoginRefused;
use crate::budgets::Busy;
use crate::pieced_file::{FileError, PiecedFile};
use crate::policy::Action;
use crate::rates::Payer;
use crate::records::{Asked, Outcome, ProofKind};
use crate::session::Session;
use crate::transfers::Transfer;

/// Answers until no more requests come.
pub(super) async fn answer_all(
    mut queued: Queued,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), NativeError> {
    let mut listing = None;
    let mut is_first = true;
    loop {
        sender.flush().await?;
        let next = timeout(session.server.deadlines.idle, queued.next()).await;
        let Some(next) = next.map_err(|_| NativeError::Idle)? else {
            return Ok(());
        };
        let (request, wanted) = next?;
        if !wanted.is_wanted() && request != Request::Cancel {
            continue;
        }
        let entry = session.enter(Asked::native(&request));
        let admitted = with_heartbeats(session.admit(), sender, session).await?;
        let answered = match (request, admitted) {
            // What follows is asked for by who logs in, and by nobody else.
            (Request::LogIn(_), Err(Busy)) if is_first => {
                Err(NativeError::Login(LoginRefused::Busy).into())
            }
            (Request::LogIn(proof), Ok(())) if is_first => log_in(proof, sender, session).await,
            (request @ Request::Cancel, _) | (request, Ok(())) => {
                answer(request, &wanted, &mut listing, sender, session).await
            }
            (_, Err(busy)) => Err(busy.into()),
        };
        is_first = false;
        match answered {
            Ok(()) if wanted.is_wanted() => entry.end(Outcome::Done),
            Ok(()) => entry.end(Outcome::Cancelled),
            Err(Failure::Refused(refusal)) => {
                tracing::info!("{}: refused: {}", session.peer, refusal.text);
                entry.end(Outcome::of(refusal.code));
                sender.queue(&Answer::Error(refusal));
            }
            Err(Failure::Session(error)) => {
                if let Some(refusal) = last_words(&error) {
                    entry.end(Outcome::of(refusal.code));
                    sender.queue(&Answer::Error(refusal));
                    sender.flush().await?;
                }
                return Err(error);
            }
        }
    }
}

/// Lets somebody in who proves who they are. Whoever does not is answered nothing more.
async fn log_in(proof: Proof, sender: &mut Sender<'_>, session: &Session) -> Result<(), Failure> {
    if !session.is_encrypted {
        return Err(NativeError::LoginInTheClear.into());
    }
    let (who, by) = match &proof {
        Proof::Password { user, .. } => (user.clone(), ProofKind::Password),
        Proof::Token(_) => ("unknown".into(), ProofKind::Token),
    };
    let turn_max = session.server.deadlines.login_turn;
    let checking = session.server.gate.log_in(session.source(), proof, turn_max);
    match with_heartbeats(checking, sender, session).await? {
        Ok(login) => session.log_in(login, by),
        Err(refused) => {
            session.refuse_login(&Escaped(who.as_bytes()).to_string(), by, refused);
            return Err(NativeError::Login(refused).into());
        }
    }
    tracing::info!("{}: logged in as {}", session.peer, session.caller()?);
    sender.queue(&Answer::Done);
    Ok(())
}

async fn answer(
    request: Request,
    wanted: &Wanted,
    listing: &mut Option<Kept>,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), Failure> {
    match request {
        Request::Stat { name } => {
            let file = open(&name, session).await?;
            let info = with_heartbeats(file.info(), sender, session).await?;
            let info = info.map_err(|error| Failure::of_file(&name, &error))?;
            session.caller()?.check(Action::Read, Some(&name))?;
            sender.queue(&Answer::Info(info));
            Ok(())
        }
        Request::Fetch { name, version, runs } => {
            let file = open_version(&name, &version, session).await?;
            let size = bytes_of(&runs, file.geometry())?;
            let share = session.caller()?.shares().share_of(&name);
            let transfer = session.server.transfers.begin(session.peer, name, size);
            let fetch = Fetch { file: &file, share, transfer: &transfer, wanted, session };
            let sent = fetch.send_runs(runs, sender).await;
            file.save_hashes();
            sent
        }
        Request::Hashes { name, version, pieces } => {
            let file = open_version(&name, &version, session).await?;
            let listed = list_hashes(&file, &name, pieces, wanted, sender, session).await;
            file.save_hashes();
            listed
        }
        Request::List(list) => super::list::list(list, listing, wanted, sender, session).await,
        Request::FetchTree(fetch) => {
            super::fetch_tree::fetch_tree(fetch, wanted, sender, session).await
        }
        Request::Cancel => Err(Failure::refused(ErrorCode::Cancelled, "cancelled")),
        Request::LogIn(_) => Err(bad("a login is the first request of a session")),
    }
}

async fn open(name: &RemoteName, session: &Session) -> Result<PiecedFile, Failure> {
    let caller = session.caller()?;
    session.server.service.open_pieced(&caller, name).await.map_err(|error| {
        tracing::info!("{}: asked for {name}, which is not served: {error}", session.peer);
        Failure::of_service(name, &error)
    })
}

async fn open_version(
    name: &RemoteName,
    version: &Version,
    session: &Session,
) -> Result<PiecedFile, Failure> {
    let file = open(name, session).await?;
    let found = match file.version() {
        Ok(now) if now == *version => return Ok(file),
        Ok(_) => FileError::Changed,
        Err(error) => error,
    };
    Err(Failure::of_file(name, &found))
}

fn bad(text: impl Into<String>) -> Failure {
    Failure::refused(ErrorCode::BadRequest, text)
}

/// Bytes of runs that are in the file and do not overlap, so that no fetch is answered by more than the file is.
fn bytes_of(runs: &[Range<u32>], geometry: Geometry) -> Result<u64, Failure> {
    let mut in_order: Vec<_> = runs.iter().collect();
    in_order.sort_unstable_by_key(|run| run.start);
    if let Some(beyond) = in_order.iter().find(|run| run.end > geometry.count()) {
        return Err(bad(format!("there is no piece {}", beyond.end - 1)));
    }
    if !in_order.is_sorted_by(|run, next| run.end <= next.start) {
        return Err(bad("a piece is asked for twice"));
    }
    Ok(runs.iter().map(|run| geometry.bytes_of(run.clone())).sum())
}

/// One fetch under way.
struct Fetch<'a> {
    file: &'a PiecedFile,
    share: Option<RemoteName>,
    transfer: &'a Transfer,
    wanted: &'a Wanted,
    session: &'a Session,
}

impl Fetch<'_> {
    /// The file does not give what was asked of it.
    fn failed(&self, error: &FileError) -> Failure {
        Failure::of_file(self.transfer.name(), error)
    }

    async fn send_runs(
        &self,
        runs: Vec<Range<u32>>,
        sender: &mut Sender<'_>,
    ) -> Result<(), Failure> {
        let is_sparse = self.file.is_sparse().map_err(|error| self.failed(&error))?;
        for index in runs.into_iter().flatten() {
            if !self.wanted.is_wanted() {
                return Ok(());
            }
            // What was allowed when the fetch began need not be any more.
            let caller = self.session.caller()?;
            caller.check(Action::Read, Some(self.transfer.name()))?;
            self.send_piece(index, is_sparse, &caller.payer(self.session.source()), sender).await?;
            // A piece that is a hole, and whose hash is known, sends nothing by itself and waits for nothing.
            sender.relieve().await?;
            consume_budget().await;
        }
        sender.queue(&Answer::Done);
        Ok(())
    }

    /// Sends a piece's bytes, and its hash right after them. A hash that is not known yet is computed while
    /// the bytes are on their way.
    async fn send_piece(
        &self,
        index: u32,
        is_sparse: bool,
        payer: &Payer,
        sender: &mut Sender<'_>,
    ) -> Result<(), Failure> {
        let Some(bytes) = self.file.geometry().piece(index) else {
            return Err(bad(format!("there is no piece {index}")));
        };
        let hashing = self.file.hash(index);
        self.send_bytes(bytes, is_sparse, payer, sender).await?;
        let hash = with_heartbeats(hashing.ended(), sender, self.session).await?;
        let hash = hash.and_then(|hash| self.file.check_unchanged().map(|()| hash));
        let hash = hash.map_err(|error| self.failed(&error))?;
        sender.queue(&Answer::Piece { index, hash });
        Ok(())
    }

    async fn send_bytes(
        &self,
        mut bytes: Range<u64>,
        is_sparse: bool,
        payer: &Payer,
        sender: &mut Sender<'_>,
    ) -> Result<(), Failure> {
        let rates = &self.session.server.rates;
        let bytes_max = rates.bytes_at_once_max().min(DATA_BYTES_MAX as u64);
        while !bytes.is_empty() {
            let (part, extent) = if is_sparse {
                self.file.local().extent(bytes.clone())
            } else {
                (bytes.clone(), Extent::Content)
            };
            let end = match extent {
                Extent::Hole => {
                    sender.queue(&Answer::Hole { bytes: part.end - part.start });
                    part.end
                }
                Extent::Content => {
                    let end = part.end.min(part.start + bytes_max);
                    let granting = rates.acquire(payer, self.share.as_ref(), end - part.start);
                    with_heartbeats(granting, sender, self.session).await?;
                    let sent = sender.send_content(self.file.local(), part.start..end).await;
                    sent.map_err(|error| Failure::of_sending(self.transfer.name(), error))?;
                    end
                }
            };
            self.transfer.add_sent(end - bytes.start);
            bytes.start = end;
        }
        Ok(())
    }
}

/// Sends the hashes of a run of pieces, with signs of life while they are computed.
async fn list_hashes(
    file: &PiecedFile,
    name: &RemoteName,
    pieces: Range<u32>,
    wanted: &Wanted,
    sender: &mut Sender<'_>,
    session: &Session,
) -> Result<(), Failure> {
    if pieces.end > file.geometry().count() {
        return Err(bad(format!("there is no piece {}", pieces.end - 1)));
    }
    let first = pieces.start;
    let computing = compute_hashes(file, pieces, wanted);
    let computed = with_heartbeats(computing, sender, session).await?;
    if let Some(hashes) = computed.map_err(|error| Failure::of_file(name, &error))? {
        // That took long, and what was allowed when it began need not be any more.
        session.caller()?.check(Action::Read, Some(name))?;
        sender.queue(&Answer::HashList { first, hashes });
    }
    Ok(())
}

/// The hashes of a run of pieces, all of the version that was opened; `None` where they are not wanted any more.
async fn compute_hashes(
    file: &PiecedFile,
    pieces: Range<u32>,
    wanted: &Wanted,
) -> Result<Option<Vec<PieceHash>>, FileError> {
    let mut hashes = Vec::with_capacity(pieces.len());
    for index in pieces {
        if !wanted.is_wanted() {
            return Ok(None);
        }
        hashes.push(file.hash(index).ended().await?);
    }
    file.check_unchanged()?;
    Ok(Some(hashes))
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use towline_net::stream::Stream;
    use towline_proto::native::frame::{HEADER_BYTES, Header};
    use towline_proto::native::message::{Refusal, Secret};
    use towline_proto::native::preface::{PREFACE_BYTES, Preface};

    use super::super::converse;
    use super::super::requests::Queue;
    use super::super::testing::{connected, deny_everything, session, waits_for, write};
    use super::*;
    use crate::metrics::Limit;

    /// So many that a file is described only in its turn among those who hash.
    const PIECES: u64 = 1_025;

    /// How a request about a huge file is refused where rights are taken away while it waits for its turn.
    async fn refused(ask: impl FnOnce(RemoteName, Version) -> Request) -> ErrorCode {
        let (session, folder) = session();
        write(&folder, "file", "");
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("file"));
        file.unwrap().set_len(PIECES << 20).unwrap();
        let name = RemoteName::parse(b"file").unwrap();
        let version = open(&name, &session).await.ok().unwrap().version().unwrap();
        let busy = session.server.budgets.hashing.take(session.source(), usize::MAX).await;
        let (near, _far) = connected().await;
        let (_queue, queued) = Queue::new();
        let (server, request) = (Arc::clone(&session.server), ask(name, version));
        let answering = async move {
            let mut near = Stream::plain(near);
            let mut sender = Sender::new(near.split().1, &session);
            answer(request, &queued.wanted(0), &mut None, &mut sender, &session).await
        };
        let answering = waits_for(Limit::Hashing, &server, answering).await;
        deny_everything(&server);
        drop(busy);
        match answering.await {
            Err(Failure::Refused(Refusal { code, .. })) => code,
            _ => panic!("it was told"),
        }
    }

    #[tokio::test]
    async fn what_is_denied_while_it_waits_for_its_turn_is_not_told() {
        assert_eq!(refused(|name, _| Request::Stat { name }).await, ErrorCode::Denied);
        let hashes = |name, version| Request::Hashes { name, version, pieces: 0..1 };
        assert_eq!(refused(hashes).await, ErrorCode::Denied);
    }

    /// The refusals that these requests get from a server whose rate their source has used up for a while.
    async fn refused_after_a_flood(requests: [Request; 2]) -> Vec<ErrorCode> {
        let (session, _folder) = session();
        session.server.requests.replace(1);
        for _ in 0..10 {
            tokio::select! {
                biased;
                _ = session.admit() => {}
                () = ready(()) => {}
            }
        }
        let (near, mut far) = connected().await;
        far.write_all(&Preface::OURS.encode()).await.unwrap();
        for request in requests {
            far.write_all(&request.encode()).await.unwrap();
        }
        far.shutdown().await.unwrap();
        let _ = converse(&mut Stream::plain(near), &session).await;
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        let (mut rest, mut codes) = (&came[PREFACE_BYTES..], Vec::new());
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let Header { kind, length, .. } = Header::decode(header).unwrap();
            let (payload, next) = behind.split_at(length);
            if let Answer::Error(refusal) = Answer::decode(kind, payload).unwrap() {
                codes.push(refusal.code);
            }
            rest = next;
        }
        codes
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_far_too_often_is_told_so_and_goes_on_only_where_nobody_logs_in() {
        let stat = || Request::Stat { name: RemoteName::parse(b"missing").unwrap() };
        let refused = refused_after_a_flood([stat(), stat()]).await;
        assert_eq!(refused, [ErrorCode::Busy, ErrorCode::NotFound]);
        let login = Request::LogIn(Proof::Token(Secret::new("token".into()).unwrap()));
        assert_eq!(refused_after_a_flood([login, stat()]).await, [ErrorCode::Busy]);
    }
}
