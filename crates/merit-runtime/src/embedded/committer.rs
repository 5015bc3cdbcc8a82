//! The thread that packs and writes commits, so that the worker goes on while the disk syncs.

use super::log::Batches;
use crate::layout::Layout;
use crate::store::{Commit, Store};
use crate::{Failpoint, RuntimeError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Done = Result<Batches, RuntimeError>;

/// What was committed, for whoever follows the log as it grows.
pub struct Committed {
    /// Batches: partition number, base offset, records, plain body.
    pub batches: Batches,
    /// Encodings of the [`Answered`](crate::task::Answered) of its commands.
    pub answers: Vec<Vec<u8>>,
    /// What writing it took, its sync included.
    pub took: Duration,
}

/// Who follows the log as it grows; called on the committing thread.
pub struct Follower {
    /// Takes every commit once it is on disk, in order.
    pub committed: Box<dyn FnMut(Committed) + Send>,
    /// Is told when the next commit may come.
    pub free: Box<dyn Fn() + Send>,
}

/// At most one commit is under way.
pub(super) struct Committer {
    commits: Option<SyncSender<Commit>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    under_way: bool,
    finished: Option<Done>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(store: Arc<Store>, layout: Arc<Layout>, mut follower: Option<Follower>) -> Committer {
        let (commits, receive) = sync_channel::<Commit>(1);
        let (send, done) = sync_channel::<Done>(1);
        let thread = std::thread::spawn(move || {
            while let Ok(mut commit) = receive.recv() {
                Failpoint::CommitPacking.pass();
                let begun = Instant::now();
                let written = store.commit(&mut commit, &layout.partitions);
                let took = begun.elapsed();
                Failpoint::CommitWritten.pass();
                let Commit { batches, answers, checkpoint, .. } = commit;
                let batches = match (&written, &mut follower) {
                    (Ok(()), Some(follower)) => {
                        (follower.committed)(Committed { batches, answers, took });
                        Vec::new()
                    }
                    _ => batches,
                };
                // Nobody but a start waits for state.
                let written = written.and_then(|()| checkpoint.map_or(Ok(()), |(rows, position)| store.checkpoint(rows, position)));
                if send.send(written.map(|()| batches)).is_err() {
                    break;
                }
                if let Some(follower) = &follower {
                    (follower.free)();
                }
            }
        });
        Committer { commits: Some(commits), done, thread: Some(thread), under_way: false, finished: None }
    }

    /// Whether a commit is under way.
    pub(super) fn busy(&mut self) -> bool {
        if self.under_way {
            match self.done.try_recv() {
                Ok(done) => (self.under_way, self.finished) = (false, Some(done)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.under_way = false,
            }
        }
        self.under_way
    }

    /// Waits for the commit under way; gives its buffers back.
    pub(super) fn wait(&mut self) -> Done {
        if self.under_way {
            self.under_way = false;
            self.finished = self.done.recv().ok();
            if self.finished.is_none() {
                return Err(stopped());
            }
        }
        self.finished.take().unwrap_or(Ok(Vec::new()))
    }

    /// Hands over a commit once the one before is done; gives the buffers of that one back.
    pub(super) fn send(&mut self, commit: Commit) -> Done {
        let spent = self.wait()?;
        let sent = self.commits.as_ref().is_some_and(|commits| commits.send(commit).is_ok());
        self.under_way = sent;
        if sent { Ok(spent) } else { Err(stopped()) }
    }
}

fn stopped() -> RuntimeError {
    RuntimeError::Store { attempt: "commit to", cause: "the committing thread stopped".into() }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported through `done`.
            let _ = thread.join();
        }
    }
}
