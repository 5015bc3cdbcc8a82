//! What a copy keeps of its tasks: rows in a changelog, and on its disk.
//!
//! The changelog of a checkpoint is written behind the commit that it stands for, by a second producer, in a transaction that also
//! commits an offset for the group: a copy that lost the task is refused. The disk follows the changelog and never leads it.

use super::Setup;
use super::cycle::{Copy, Running, Sabotage, Stop};
use super::step::Step;
use super::transport::{Disk, Mark, Membership, Refused, Role, Rows, Transport};
use crate::LOGIC_VERSION;
use merit_core::Datum;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Where a task's last records are.
#[derive(Clone, Copy, Default)]
pub(super) struct Last {
    /// Offset of the last leaf of its audit chain.
    pub(super) leaf: Option<u64>,
}

impl Last {
    fn row(self) -> Vec<u8> {
        let mut row = Vec::new();
        LOGIC_VERSION.put(&mut row);
        self.leaf.put(&mut row);
        row
    }

    /// Reads a row, and the version of the logic that computed what it stands for.
    pub(super) fn from_row(mut row: &[u8]) -> Option<(u32, Last)> {
        let (logic_version, leaf) = (u32::get(&mut row)?, Option::<u64>::get(&mut row)?);
        row.is_empty().then_some((logic_version, Last { leaf }))
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

impl<T: Transport, D: Disk> Copy<T, D> {
    /// Writes what changed in a task to its changelog, then to the disk. Where the changelog fails, the task is taken over again
    /// from what is there; where the disk does, it gets these rows with the next checkpoint.
    pub(super) async fn checkpoint(&mut self, of: &Membership, number: usize) -> Result<(), Stop> {
        let setup = Rc::clone(&self.setup);
        let Some(running) = self.tasks.get_mut(&number) else { return Ok(()) };
        let rows = running.gather(&setup, number);
        let position = running.task.position;
        let mark = self.place.disk.borrow().mark(number)?;
        let next = match self.write_changelog(of, number, &rows, position, mark).await {
            Ok(next) => next,
            Err(refused) => {
                self.tasks.remove(&number);
                return match refused {
                    Refused::Unknown => self.initialise_changelog().await,
                    Refused::Abort | Refused::Retry => self.abort_changelog().await,
                    Refused::Fenced | Refused::Failed(_) => Err(refused.into()),
                };
            }
        };
        let write = |_: &mut T| match self.place.disk.borrow_mut().write(number, &rows, Mark { next, ..mark }) {
            Err(Refused::Retry) => Ok(false),
            written => written.map(|()| true),
        };
        let is_stored = self.place.read(Step::StoreCheckpoint, write).await?;
        if let Some(running) = self.tasks.get_mut(&number) {
            match is_stored {
                false => running.rows = rows,
                // What the disk holds and is not used is left there; what is used again is read again.
                true => self.evict(number),
            }
        }
        Ok(())
    }

    fn evict(&mut self, number: usize) {
        let bytes = self.tasks.values_mut().map(|running| running.task.bytes()).sum();
        let rows = self.place.disk.borrow().rows(number);
        if let Some(running) = self.tasks.get_mut(&number).filter(|_| bytes > self.bounds.state_bytes) {
            running.task.evict(self.bounds.state_bytes, bytes, &rows);
        }
    }

    /// Gives the offset behind the last row. `mark` is that of the disk, which these rows are laid over.
    async fn write_changelog(&self, of: &Membership, number: usize, rows: &Rows, position: u64, mark: Mark) -> Result<u64, Refused> {
        let (role, partition) = (Role::Changelog, self.setup.changelog(number));
        self.place.ask(Step::BeginChangelog, |transport| transport.begin(role)).await?;
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
            self.place.ask(Step::ProduceChangelog, send).await?;
        }
        let offsets = self.place.ask(Step::DeliverChangelog, |transport| transport.delivered(role)).await?;
        // Nothing is lost behind an open transaction: a changelog that is whole now is so when this is committed.
        let epoch = self.place.ask(Step::ReadChangelogEpoch, |transport| transport.epoch_of(partition)).await?;
        let is_whole = epoch == mark.epoch && offsets.first().is_none_or(|first| *first >= mark.next);
        if !is_whole && !self.is_sabotaged(Sabotage::Epoch) {
            return Err(Refused::Abort);
        }
        if !self.is_sabotaged(Sabotage::Fence) {
            let offsets = BTreeMap::from([(partition, position)]);
            self.place.ask(Step::FenceChangelog, |transport| transport.send_offsets(role, of, &offsets)).await?;
        }
        self.place.ask(Step::CommitChangelog, |transport| transport.end(role, true)).await?;
        Ok(offsets.last().map_or(mark.next, |last| last + 1))
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

    /// Brings the disk to the end of the changelog.
    pub(super) async fn restore(&self, number: usize) -> Result<(), Stop> {
        let (partition, disk) = (self.setup.changelog(number), &self.place.disk);
        loop {
            let epoch = self.place.read(Step::ReadChangelogEpoch, |transport| transport.epoch_of(partition)).await?;
            // Whoever was refused since we own the task wrote before this end or not at all.
            let end = self.place.read(Step::ReadChangelogEnd, |transport| transport.end_of(partition)).await?;
            let mut mark = disk.borrow().mark(number)?;
            if mark.epoch != epoch || mark.next > end {
                mark = Mark { next: 0, epoch };
                self.place.read(Step::StoreRestored, |_| disk.borrow_mut().clear(number)).await?;
            }
            if self.restore_to(number, mark, end).await? {
                return Ok(());
            }
        }
    }

    /// Brings the disk from a place in the changelog to another; gives whether the changelog lost nothing meanwhile.
    async fn restore_to(&self, number: usize, mut mark: Mark, end: u64) -> Result<bool, Stop> {
        let partition = self.setup.changelog(number);
        while mark.next < end {
            let mut rows = Rows::new();
            let read = |transport: &mut T| match transport.epoch_of(partition)? == mark.epoch {
                true => {
                    let mut take = |key: &[u8], row: &[u8]| drop(rows.insert(key.into(), row.into()));
                    transport.read_rows(partition, mark.next, end, &mut take).map(Some)
                }
                false => Ok(None),
            };
            let Some(next) = self.place.read(Step::ReadChangelog, read).await? else { return Ok(false) };
            let mark_behind = Mark { next, ..mark };
            let store = |transport: &mut T| match transport.epoch_of(partition)? == mark.epoch {
                true => self.place.disk.borrow_mut().write(number, &rows, mark_behind).map(|()| true),
                false => Ok(false),
            };
            if !self.place.read(Step::StoreRestored, store).await? {
                return Ok(false);
            }
            mark = mark_behind;
        }
        Ok(true)
    }
}

/// Rows between two places where a copy can be stopped.
const ROWS_AT_ONCE: usize = 8;
