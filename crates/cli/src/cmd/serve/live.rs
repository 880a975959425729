//! A server that runs, and what of it is read again: on SIGHUP everything but addresses and places of its own files; the
//! credentials' file whenever it changes. That has a thread of its own: files may be on a disk that does not answer, and
//! nothing else is to wait for it.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};
use towline_server::config::Served;
use towline_server::records::Event;
use towline_server::{Handle, Shutdown};

use super::footprint::Footprint;
use super::manager::Manager;
use crate::config::File;
use crate::identity::ShownIdentity;
use crate::signals::Reloads;

/// How often the credentials' file is looked at: the longest time for which a revoked token still opens a session.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long the files are waited for before that is told.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The server, and where its configuration comes from.
pub(super) struct Live<C> {
    dir: Option<PathBuf>,
    configure: C,
    handle: Handle,
    identity: ShownIdentity,
    /// The configuration that holds.
    config: File,
    credentials: Option<Stamp>,
    /// What was wrong with the credentials when they were read last, if anything was.
    credentials_fault: Option<String>,
    /// Whether the last reload changed nothing, because something was wrong.
    is_stale: bool,
}

/// What the thread is to do.
enum Task {
    /// Read the credentials if they are others.
    Look,
    /// Read everything.
    Reload,
}

/// The thread in which files are read again.
pub(super) struct Follower {
    /// Each with where to say how the server is afterwards.
    tasks: SyncSender<(Task, oneshot::Sender<String>)>,
}

/// What tells a file from what it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl<C: Fn() -> anyhow::Result<File> + Send + 'static> Live<C> {
    /// A server that is ready to serve what `config` says.
    pub(super) fn start(
        dir: Option<&Path>,
        config: &File,
        configure: C,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let identity = ShownIdentity::load(config)?;
        let credentials = stamp(config);
        let (settings, ignored) = config.config(dir, identity.acceptor())?;
        say(&settings.served, &ignored);
        let handle = Handle::new(&settings, shutdown)?;
        Ok(Self {
            dir: dir.map(Path::to_owned),
            configure,
            handle,
            identity,
            config: config.clone(),
            credentials,
            credentials_fault: None,
            is_stale: false,
        })
    }

    /// Reads files again from now on, in a thread of its own. It ends with the process at the latest.
    pub(super) fn follow(mut self) -> io::Result<Follower> {
        let (tasks, queue) = sync_channel::<(Task, oneshot::Sender<String>)>(1);
        let work = move || {
            for (task, done) in queue {
                match task {
                    Task::Look => self.look(),
                    Task::Reload => self.reload(),
                }
                // Whoever asked may be gone.
                let _ = done.send(self.status());
            }
        };
        thread::Builder::new().name("towline-reload".into()).spawn(work)?;
        Ok(Follower { tasks })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(super) fn identity(&self) -> &ShownIdentity {
        &self.identity
    }

    /// Reads the credentials again if their file has changed. If anything is wrong with them, the old ones stay, and
    /// they are read again until they are right: what was revoked must not be good for ever. Each fault is told once.
    fn look(&mut self) {
        let credentials = stamp(&self.config);
        if credentials == self.credentials {
            return;
        }
        let reloaded = self.config.access();
        let fault = reloaded.as_ref().err().map(|error| format!("{error:#}"));
        if fault.is_some() && fault == self.credentials_fault {
            return;
        }
        self.note_reload("credentials", reloaded.as_ref().err());
        self.credentials_fault = fault;
        match reloaded {
            Ok((access, ignored)) => {
                self.credentials = credentials;
                tell_ignored(&ignored);
                self.handle.replace_access(&Arc::new(access));
                tracing::info!("the credentials were read again");
            }
            Err(error) => tracing::error!("the old credentials stay: {error:#}"),
        }
    }

    /// Reads everything again, and goes on in new log files. Whatever is wrong with any of it keeps all that holds.
    fn reload(&mut self) {
        self.handle.reopen_records();
        let reloaded = self.try_reload();
        self.is_stale = reloaded.is_err();
        self.note_reload("configuration", reloaded.as_ref().err());
        if let Err(error) = reloaded {
            tracing::error!("the old configuration, certificate and rules stay: {error:#}");
        }
    }

    /// How it is, for whoever looks at it from outside.
    pub(super) fn status(&self) -> String {
        let served = match (&self.dir, self.config.share.len()) {
            (Some(dir), _) => format!("{:?}", dir.to_string_lossy()),
            (None, 1) => "one share".into(),
            (None, count) => format!("{count} shares"),
        };
        let stale =
            if self.is_stale { "; the last reload was refused, as the log says" } else { "" };
        format!("serving {served}{stale}")
    }

    fn note_reload(&self, what: &str, refused: Option<&anyhow::Error>) {
        let refused = refused.map(|error| format!("{error:#}"));
        self.handle.note(&Event::Reload { what, refused: refused.as_deref() });
    }

    fn try_reload(&mut self) -> anyhow::Result<()> {
        let mut config = (self.configure)()?;
        let later = config.changed_for_the_next_start(&self.config);
        config.stay_where(&self.config);
        // Who edits a file may leave it empty for a moment.
        ensure!(
            !config.is_open() || self.config.is_open(),
            "without any rule or user everybody could read everything: write a rule that says so, or restart the server"
        );
        let dir = self.dir.as_deref();
        Footprint::of(&config, dir)?.check_confinement()?;
        let credentials = stamp(&config);
        let identity = self.identity.read_again(&config)?;
        let (settings, ignored) = config.config(dir, self.identity.acceptor())?;
        // The last that can fail, and it fails before it changes anything.
        self.handle.replace(&settings)?;
        self.identity.replace(identity);
        say(&settings.served, &ignored);
        for key in later {
            tracing::warn!("`{key}` is another one: that holds from the next start on");
        }
        tracing::info!("the configuration, certificate and rules were read again");
        (self.config, self.credentials, self.credentials_fault) = (config, credentials, None);
        Ok(())
    }
}

impl Follower {
    /// Has the credentials looked at again and again, and everything read again whenever `reloads` asks for it. Ends
    /// where nothing is read again any more.
    pub(super) async fn run(
        self,
        mut reloads: Reloads,
        manager: &Manager,
    ) -> anyhow::Result<Infallible> {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = reloads.next() => {
                    manager.reloading();
                    manager.ready(&self.ask(Task::Reload).await?);
                }
                _ = looks.tick() => drop(self.ask(Task::Look).await?),
            }
        }
    }

    /// Has the thread do something, and tells how the server is then.
    async fn ask(&self, task: Task) -> anyhow::Result<String> {
        let (done, mut status) = oneshot::channel();
        // It has room, because one is asked after the other; where the thread has ended, there is no answer.
        let _ = self.tasks.try_send((task, done));
        let answered = if let Ok(answered) = timeout(ANSWER_MAX, &mut status).await {
            answered
        } else {
            tracing::warn!(
                "the files of the configuration and the credentials cannot be read for now: what changes in them counts once they can"
            );
            status.await
        };
        answered.map_err(|_| anyhow!("nothing is read again any more")).context("the server ends")
    }
}

fn stamp(config: &File) -> Option<Stamp> {
    config.credentials_file().as_deref().and_then(Stamp::of)
}

/// Says what is served, and what counts for nothing.
fn say(served: &Served, ignored: &[String]) {
    match served {
        Served::Folder(path) => {
            let path: PathBuf = path.canonicalize().unwrap_or_else(|_| path.clone());
            tracing::info!("serving {path:?}");
        }
        Served::Shares(shares) => {
            for share in shares {
                tracing::info!("serving {:?} as /{}", share.path, share.name);
            }
        }
    }
    tell_ignored(ignored);
}

fn tell_ignored(ignored: &[String]) {
    for what in ignored {
        tracing::warn!("this counts for nothing: {what}");
    }
}
