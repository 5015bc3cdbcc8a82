//! The writing half of the engine: the end of the log, and the commits that carry it to the store.

use super::committer::{Committer, Follower};
use super::log::Log;
use super::{Options, recovery};
use crate::layout::{Layout, Registered};
use crate::store::{Commit, Store};
use crate::task::Outgoing;
use crate::{Failpoint, RuntimeError};
use merit_core::Head;
use merit_topology::{Runtime, Topology};
use std::path::Path;
use std::sync::Arc;

/// Appends records to the topics of a directory and commits them as the engine does, without running them: what a pipeline
/// costs that has no logic is measured with it.
pub struct Appender {
    pub(super) layout: Arc<Layout>,
    pub(super) log: Log,
    pub(super) store: Arc<Store>,
    committer: Committer,
    runtime: Runtime,
    pub(super) options: Options,
    /// Outside records since the last commit.
    uncommitted: u64,
}

impl Appender {
    /// Opens a directory at the end of its log. Its tasks, if it has any, are not told.
    pub fn open(path: &Path, topology: &Topology, registered: &[Registered], options: Options) -> Result<Appender, RuntimeError> {
        let layout = Arc::new(Layout::new(topology, registered));
        let store = Arc::new(Store::open_own(path, options.sync)?);
        let log = recovery::log_at(&store, &layout, "ends")?;
        Ok(Appender::new(layout, store, log, topology.runtime, options))
    }

    pub(super) fn new(layout: Arc<Layout>, store: Arc<Store>, log: Log, runtime: Runtime, options: Options) -> Appender {
        let committer = Committer::start(Arc::clone(&store), Arc::clone(&layout), None);
        Appender { layout, log, store, committer, runtime, options, uncommitted: 0 }
    }

    /// Has every commit from here on told to `follower`.
    pub(super) fn follow(&mut self, follower: Follower) -> Result<(), RuntimeError> {
        self.settle()?;
        self.committer = Committer::start(Arc::clone(&self.store), Arc::clone(&self.layout), Some(follower));
        Ok(())
    }

    /// Hears whether the last commit failed, where it has ended: nobody may come who would hear it otherwise.
    pub(super) fn heed(&mut self) -> Result<(), RuntimeError> {
        if self.committer.busy() { Ok(()) } else { self.settle() }
    }

    /// Whether something waits for a commit, and none is under way.
    pub(super) fn may_commit(&mut self) -> bool {
        (self.log.bytes > 0 || !self.log.answers.is_empty()) && !self.committer.busy()
    }

    /// The topology as it is laid out.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Appends a record and gives its offset.
    #[inline]
    pub fn append(&mut self, record: &Outgoing<'_>) -> u64 {
        if record.head.stream == Head::OUTSIDE {
            self.log.outside += 1;
            self.uncommitted += 1;
        }
        self.log.append(record)
    }

    /// Whether the driver should commit now; `taken` outside records are not appended yet.
    #[inline]
    pub fn commit_due(&mut self, taken: u64) -> bool {
        let Runtime { commit_bytes, pending_bytes, .. } = self.runtime;
        let waiting = self.log.bytes as u64;
        match self.options.commit_records {
            Some(records) => self.uncommitted + taken >= records,
            None => waiting >= commit_bytes && (waiting >= pending_bytes || !self.committer.busy()),
        }
    }

    /// Commits everything appended so far, with the rows of `commit` beside it; waits for the commit before this one.
    pub fn commit(&mut self, mut commit: Commit) -> Result<(), RuntimeError> {
        Failpoint::CommitBegins.pass();
        commit.batches = self.log.drain();
        commit.answers = std::mem::take(&mut self.log.answers);
        commit.meta.push(("ends".into(), self.log.ends_row(&self.layout)));
        self.uncommitted = 0;
        let spent = self.committer.send(commit)?;
        Failpoint::CommitSent.pass();
        self.log.reuse(spent);
        if self.options.commit_records.is_some() {
            self.settle()?;
        }
        Ok(())
    }

    /// Waits until what was committed is on disk.
    pub fn settle(&mut self) -> Result<(), RuntimeError> {
        let spent = self.committer.wait()?;
        Failpoint::CommitAcknowledged.pass();
        self.log.reuse(spent);
        Ok(())
    }

    /// Commits what is left and waits for it.
    pub fn close(mut self) -> Result<Arc<Store>, RuntimeError> {
        self.commit(Commit::default())?;
        self.settle()?;
        Ok(self.store)
    }
}
