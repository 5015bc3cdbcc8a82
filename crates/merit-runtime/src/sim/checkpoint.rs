//! What a copy keeps of its tasks: rows in a changelog, and on its disk.
//!
//! The changelog of a checkpoint is written behind the commit that it stands for, by a second producer, in a transaction that also
//! commits an offset for the group: a copy that lost the task is refused. The disk follows the changelog and never leads it.

use super::broker::{Broker, Membership, Message, Refused};
use super::copy::{Copy, Running, Stop};
use super::step::Step;
use super::{Sabotage, Setup};
use merit_core::{Datum, List};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Rows by key, as the changelog and the disk keep them; an empty one is deleted.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the disk of a copy holds of a task: its state as of some place in the changelog.
#[derive(Clone, Default)]
pub(crate) struct Base {
    pub(crate) rows: Rows,
    next: u64,
    epoch: u64,
}

/// The disk of a copy.
#[derive(Default)]
pub(crate) struct Disk {
    bases: BTreeMap<usize, Base>,
    pub(crate) full: bool,
}

impl Disk {
    /// Gives up what is there of a task.
    pub(crate) fn forget(&mut self, task: usize) {
        self.bases.remove(&task);
    }

    fn write(&mut self, task: usize, base: &Base) -> Result<(), Refused> {
        match self.full {
            true => Err(Refused::Retry),
            false => {
                self.bases.insert(task, base.clone());
                Ok(())
            }
        }
    }
}

/// Where a task's last records are.
#[derive(Clone, Default)]
pub(crate) struct Last {
    /// Offset of the last one, a partition.
    pub(crate) records: BTreeMap<usize, u64>,
    /// Partition and offset of the last leaf of its audit chain.
    pub(crate) leaf: Option<(usize, u64)>,
}

impl Last {
    /// Takes note of the next record.
    pub(crate) fn note(&mut self, partition: usize, offset: u64, is_leaf: bool) {
        self.records.insert(partition, offset);
        if is_leaf {
            self.leaf = Some((partition, offset));
        }
    }

    fn row(&self) -> Vec<u8> {
        let places = self.records.iter().map(|(partition, offset)| (*partition, *offset)).chain(self.leaf);
        let numbers: Vec<u64> = places.flat_map(|(partition, offset)| [partition as u64, offset]).collect();
        let mut row = Vec::new();
        self.leaf.is_some().put(&mut row);
        List::Slice(&numbers).put(&mut row);
        row
    }

    pub(super) fn from_row(mut row: &[u8]) -> Option<Last> {
        let has_leaf = bool::get(&mut row)?;
        let numbers: Vec<u64> = List::<u64>::get(&mut row)?.iter().collect();
        let mut places: Vec<(usize, u64)> =
            numbers.as_chunks().0.iter().map(|[partition, offset]| (*partition as usize, *offset)).collect();
        let leaf = if has_leaf { places.pop() } else { None };
        Some(Last { records: places.into_iter().collect(), leaf })
    }
}

impl Running {
    /// Takes the changed rows out of the task.
    fn gather(&mut self, setup: &Setup, number: usize) {
        let rows = &mut self.rows;
        self.task.checkpoint(&mut |key, row| {
            rows.insert(key, row.to_vec());
        });
        rows.insert(setup.last_key(number), self.last.row());
        self.unsaved = 0;
    }
}

impl Base {
    /// Lays newer rows over those that are there.
    fn take(&mut self, rows: Rows) {
        self.rows.extend(rows);
        self.rows.retain(|_, row| !row.is_empty());
    }
}

impl Copy {
    /// Writes what changed in a task to its changelog, then to the disk. Where the changelog fails, the task is taken over again
    /// from what is there; where the disk does, it gets these rows with the next checkpoint.
    pub(super) async fn checkpoint(&mut self, of: &Membership, number: usize) -> Result<(), Stop> {
        let setup = Rc::clone(&self.setup);
        let Some(running) = self.tasks.get_mut(&number) else { return Ok(()) };
        running.gather(&setup, number);
        let (rows, position) = (running.rows.clone(), running.task.position);
        let mut base = self.place.disk.borrow().bases.get(&number).cloned().unwrap_or_default();
        match self.write_changelog(of, number, &rows, position, base.epoch).await {
            Ok(next) => base.next = next,
            Err(Refused::Fenced) => return Err(Stop::Fenced),
            Err(refused) => {
                self.tasks.remove(&number);
                return if refused == Refused::Unknown { self.initialise_changelog().await } else { self.abort_changelog().await };
            }
        }
        base.take(rows);
        let stored = self.place.read(Step::StoreCheckpoint, |_| Ok(self.place.disk.borrow_mut().write(number, &base))).await?;
        if let Some(running) = self.tasks.get_mut(&number).filter(|_| stored.is_ok()) {
            running.rows.clear();
            // Everything is on the disk now; what is used again is read again.
            let bytes = running.task.bytes();
            running.task.evict(0, bytes, &setup.row_map(number, &base.rows));
        }
        Ok(())
    }

    /// Gives the offset behind the last row. `epoch` is that of the changelog when the task was taken over.
    async fn write_changelog(&self, of: &Membership, number: usize, rows: &Rows, position: u64, epoch: u64) -> Result<u64, Refused> {
        let (producer, partition) = (self.changelog, self.setup.changelog(number));
        self.place.ask(Step::BeginChangelog, |_| Ok(())).await?;
        let next = self.send_rows(partition, rows).await?;
        // Nothing is lost behind an open transaction: a changelog that is whole now is so when this is committed.
        if self.place.ask(Step::ReadChangelogEpoch, |broker| Ok(broker.epoch_of(partition))).await? != epoch
            && !self.is_sabotaged(Sabotage::Epoch)
        {
            return Err(Refused::Abort);
        }
        if !self.is_sabotaged(Sabotage::Fence) {
            let offsets = BTreeMap::from([(partition, position)]);
            self.place.ask(Step::FenceChangelog, |broker| broker.send_offsets(producer, of, &offsets)).await?;
        }
        self.place.ask(Step::CommitChangelog, |broker| broker.end(producer, true)).await?;
        Ok(next)
    }

    async fn send_rows(&self, partition: usize, rows: &Rows) -> Result<u64, Refused> {
        let producer = self.changelog;
        let mut next = 0;
        for (at, (key, row)) in rows.iter().enumerate() {
            let message = Rc::new(Message { key: key.clone(), value: row.clone() });
            let sent = if at % 8 == 0 {
                self.place.ask(Step::ProduceChangelog, |broker| broker.send(producer, partition, &message)).await
            } else {
                self.place.broker.borrow_mut().send(producer, partition, &message)
            };
            next = sent? + 1;
        }
        Ok(next)
    }

    async fn initialise_changelog(&mut self) -> Result<(), Stop> {
        let id = self.changelog.id;
        self.changelog = self.place.read(Step::InitialiseChangelog, |broker| broker.initialise(id)).await?;
        Ok(())
    }

    async fn abort_changelog(&mut self) -> Result<(), Stop> {
        let producer = self.changelog;
        match self.place.ask(Step::AbortChangelog, |broker| broker.end(producer, false)).await {
            Err(Refused::Fenced) => Err(Stop::Fenced),
            Err(Refused::Unknown) => self.initialise_changelog().await,
            Ok(()) | Err(Refused::Abort | Refused::Retry) => Ok(()),
        }
    }

    /// Brings the disk to the end of the changelog.
    pub(super) async fn restore(&self, number: usize) -> Result<Base, Stop> {
        let partition = self.setup.changelog(number);
        loop {
            let epoch = self.place.read(Step::ReadChangelogEpoch, |broker| Ok(broker.epoch_of(partition))).await?;
            let stored = self.place.disk.borrow().bases.get(&number).filter(|base| base.epoch == epoch).cloned();
            let mut base = stored.unwrap_or(Base { epoch, ..Base::default() });
            // Whoever was refused since we own the task wrote before this end or not at all.
            let end = self.place.read(Step::ReadChangelogEnd, |broker| Ok(broker.end_of(partition))).await?;
            while base.next < end {
                let from = base.next;
                let read = |broker: &mut Broker| match broker.epoch_of(partition) == epoch {
                    true => broker.read(partition, from, 64).map(Some),
                    false => Ok(None),
                };
                let Some((records, next)) = self.place.read(Step::ReadChangelog, read).await? else { break };
                base.take(records.into_iter().map(|(_, message)| (message.key.clone(), message.value.clone())).collect());
                base.next = next;
            }
            let store = |broker: &mut Broker| match broker.epoch_of(partition) == epoch {
                true => self.place.disk.borrow_mut().write(number, &base).map(|()| true),
                false => Ok(false),
            };
            if self.place.read(Step::StoreRestored, store).await? {
                return Ok(base);
            }
        }
    }
}
