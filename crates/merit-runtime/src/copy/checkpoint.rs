//! What a copy keeps of its tasks: rows in a changelog, and on its disk.
//!
//! The changelog of a checkpoint is written behind the commit that it stands for, by a second producer, in a transaction that also
//! commits an offset for the group: a copy that lost the task is refused. The disk follows the changelog and never leads it.
//!
//! All that goes on beside the batches, a few calls behind each: no report waits for a checkpoint of others.

use super::Setup;
use super::cycle::{Copy, Place, Running, Sabotage, Stop};
use super::step::Step;
use super::transport::{Disk, Mark, Refused, Role, Rows, Transport};
use crate::LOGIC_VERSION;
use merit_core::Datum;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// Where a task's last records are.
#[derive(Clone, Copy, Default)]
pub(super) struct Last {
    /// Offset of the last leaf of its audit chain.
    pub(super) leaf: Option<u64>,
    /// Offset behind it from which on later ones are looked for: no leaf of the task lies between.
    pub(super) next: u64,
}

impl Last {
    fn row(self) -> Vec<u8> {
        let mut row = Vec::new();
        LOGIC_VERSION.put(&mut row);
        self.leaf.put(&mut row);
        self.next.put(&mut row);
        row
    }

    /// Reads a row, and the version of the logic that computed what it stands for.
    pub(super) fn from_row(mut row: &[u8]) -> Option<(u32, Last)> {
        let (logic_version, leaf, next) = (u32::get(&mut row)?, Option::<u64>::get(&mut row)?, u64::get(&mut row)?);
        row.is_empty().then_some((logic_version, Last { leaf, next }))
    }
}

impl Running {
    /// Takes the changed rows out of the task, beside those that the disk did not take yet.
    fn gather(&mut self, setup: &Setup, number: usize) -> Rows {
        let mut rows = std::mem::take(&mut self.rows);
        self.task.checkpoint(&mut |key, row| {
            rows.insert(key, row.to_vec());
        });
        rows.insert(setup.last_key(number), self.last.row());
        self.unsaved = 0;
        rows
    }
}

/// A checkpoint that is being written while the batches go on.
pub(super) struct Saving {
    pub(super) task: usize,
    pub(super) since: u64,
    /// The call that comes next.
    step: Step,
    /// Calls behind each batch.
    calls: usize,
    work: Pin<Box<dyn Future<Output = Result<Saved, Refused>>>>,
}

/// Rows that are in the changelog.
struct Saved {
    rows: Rows,
    /// Whether the disk took them, too.
    is_stored: bool,
}

impl<T: Transport + 'static, D: Disk + 'static> Copy<T, D> {
    /// Takes what changed in a task, to be written to its changelog, then to the disk.
    pub(super) async fn begin_checkpoint(&mut self, number: usize) -> Result<(), Stop> {
        let setup = Rc::clone(&self.setup);
        // No batch is under way: what the task decides behind this checkpoint comes behind this end.
        let end = self.place.read(Step::ReadOutputs, |transport| transport.end_of(setup.leaves[number])).await?;
        let Some(running) = self.tasks.get_mut(&number) else { return Ok(()) };
        running.last.next = end;
        let rows = running.gather(&setup, number);
        let calls = self.bounds.calls_beside.max(rows.len() / ROWS_AT_ONCE / MOST_BATCHES);
        let writing = Writing {
            task: number,
            rows,
            position: running.task.position,
            mark: self.place.disk.borrow().mark(number)?,
            place: Rc::clone(&self.place),
            sabotage: self.sabotage,
            setup,
        };
        let (since, step) = (running.since, Step::BeginChangelog);
        self.saving = Some(Saving { task: number, since, step, calls, work: Box::pin(writing.write()) });
        Ok(())
    }

    /// Goes on with the checkpoint that is being written, for its calls behind a batch or until one has to be made again. Where the
    /// changelog fails, the task is taken over again from what is there; where the disk does, it gets these rows with the next checkpoint.
    pub(super) async fn go_on_saving(&mut self) -> Result<(), Stop> {
        let Some(saving) = &mut self.saving else { return Ok(()) };
        let mut called = 0;
        let saved = loop {
            self.place.stand_before(saving.step).await;
            let polled = poll_fn(|context| Poll::Ready(saving.work.as_mut().poll(context))).await;
            saving.step = self.place.step.get();
            called += 1;
            match polled {
                Poll::Ready(saved) => break saved,
                Poll::Pending if called >= saving.calls || self.place.again.get() > 0 => return Ok(()),
                Poll::Pending => {}
            }
        };
        let task = saving.task;
        self.saving = None;
        match saved {
            Ok(Saved { rows, is_stored: false }) => {
                self.tasks.entry(task).and_modify(|running| running.rows = rows);
            }
            // What the disk holds and is not used is left there; what is used again is read again.
            Ok(_) => self.evict(task),
            Err(refused) => {
                self.tasks.remove(&task);
                match refused {
                    Refused::Unknown => self.initialise_changelog().await?,
                    Refused::Abort | Refused::Retry => self.abort_changelog().await?,
                    Refused::Fenced | Refused::Failed(_) => return Err(refused.into()),
                }
            }
        }
        Ok(())
    }

    /// Ends the checkpoint that is being written.
    pub(super) async fn finish_saving(&mut self) -> Result<(), Stop> {
        while self.saving.is_some() {
            self.go_on_saving().await?;
        }
        Ok(())
    }

    /// Gives the checkpoint up that is being written, and its task with it: what it took out of the task is nowhere else.
    pub(super) async fn give_up_saving(&mut self) -> Result<(), Stop> {
        let Some(Saving { task, step, .. }) = self.saving.take() else { return Ok(()) };
        self.tasks.remove(&task);
        match step {
            Step::BeginChangelog | Step::StoreCheckpoint => Ok(()),
            _ => self.abort_changelog().await,
        }
    }

    fn evict(&mut self, number: usize) {
        let bytes = self.tasks.values_mut().map(|running| running.task.bytes()).sum();
        let rows = self.place.disk.borrow().rows(number);
        if let Some(running) = self.tasks.get_mut(&number).filter(|_| bytes > self.bounds.state_bytes) {
            running.task.evict(self.bounds.state_bytes, bytes, &rows);
        }
    }

    async fn initialise_changelog(&self) -> Result<(), Stop> {
        self.place.read(Step::InitialiseChangelog, |transport| transport.initialise(Role::Changelog)).await
    }

    async fn abort_changelog(&self) -> Result<(), Stop> {
        match self.place.ask(Step::AbortChangelog, |transport| transport.end(Role::Changelog, false)).await {
            Err(Refused::Unknown) => self.initialise_changelog().await,
            Ok(()) | Err(Refused::Abort | Refused::Retry) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }
}

/// What a checkpoint is made of.
struct Writing<T, D> {
    setup: Rc<Setup>,
    place: Rc<Place<T, D>>,
    sabotage: Option<Sabotage>,
    task: usize,
    rows: Rows,
    position: u64,
    /// That of the disk, which these rows are laid over.
    mark: Mark,
}

impl<T: Transport, D: Disk> Writing<T, D> {
    async fn write(self) -> Result<Saved, Refused> {
        let mark = Mark { next: self.write_changelog().await?, ..self.mark };
        let write = |_: &mut T| match self.place.disk.borrow_mut().write(self.task, &self.rows, mark) {
            Err(Refused::Retry) => Ok(false),
            written => written.map(|()| true),
        };
        let is_stored = self.place.ask(Step::StoreCheckpoint, write).await?;
        Ok(Saved { rows: self.rows, is_stored })
    }

    /// Gives the offset behind the last row.
    async fn write_changelog(&self) -> Result<u64, Refused> {
        let Writing { place, rows, position, mark, .. } = self;
        let (role, partition) = (Role::Changelog, self.setup.changelog(self.task));
        place.ask(Step::BeginChangelog, |transport| transport.begin(role)).await?;
        let mut left = rows.iter().peekable();
        while left.peek().is_some() {
            let mut some = 0;
            let send = |transport: &mut T| {
                while let Some((key, row)) = left.peek().filter(|_| some < ROWS_AT_ONCE) {
                    transport.send_row(role, partition, key, row)?;
                    left.next();
                    some += 1;
                }
                Ok(())
            };
            place.ask(Step::ProduceChangelog, send).await?;
        }
        let offsets = place.ask(Step::DeliverChangelog, |transport| transport.delivered(role)).await?;
        // Nothing is lost behind an open transaction: a changelog that is whole now is so when this is committed.
        let epoch = place.ask(Step::ReadChangelogEpoch, |transport| transport.epoch_of(partition)).await?;
        let is_whole = epoch == mark.epoch && offsets.first().is_none_or(|first| *first >= mark.next);
        if !is_whole && self.sabotage != Some(Sabotage::Epoch) {
            return Err(Refused::Abort);
        }
        if self.sabotage != Some(Sabotage::Fence) {
            let offsets = BTreeMap::from([(partition, *position)]);
            // Behind the rows: what lands later than an owner to come looks is refused.
            place.ask(Step::FenceChangelog, |transport| transport.send_offsets(role, &place.heard.borrow(), &offsets)).await?;
            place.ask(Step::DeliverChangelog, |transport| transport.delivered(role)).await?;
        }
        place.ask(Step::CommitChangelog, |transport| transport.end(role, true)).await?;
        Ok(offsets.last().map_or(mark.next, |last| last + 1))
    }
}

/// Batches between which the rows of a checkpoint are sent at most: its transaction is open for as long, and must end in time.
const MOST_BATCHES: usize = 4;

/// Rows between two places where a copy can be stopped.
const ROWS_AT_ONCE: usize = 8;
