//! Taking over tasks: the last checkpoint of each, and its inputs since then folded again.
//!
//! Tasks whose disk is near the end of their changelog are taken over together, a call of each in turn, so that they wait for the
//! cluster together and look through the leaves of all once; behind them the others, one by one. All that goes on beside the batches
//! of the tasks that are here.

use super::Setup;
use super::checkpoint::Last;
use super::cycle::{Bounds, Copy, Place, Running, Sabotage, Stop, Work, step};
use super::recovery::Refold;
use super::step::Step;
use super::transport::{Disk, Mark, Membership, Refused, Rows, Transport};
use crate::frame::Frame;
use crate::task::Task;
use crate::{LOGIC_VERSION, RuntimeError};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Turns that calls rest at most before they are made again, which all were refused.
const LONGEST_REST: u32 = 25;

/// Tasks on their way to this copy.
pub(super) struct Taking {
    /// What said that each is ours.
    of: BTreeMap<usize, u64>,
    /// The call that comes next.
    step: Step,
    /// How often in a row every call of a turn was refused, and turns until they are made again.
    refused: u32,
    rest: u32,
    work: Work<'static, Vec<(usize, Running)>>,
    /// What came of it.
    taken: Option<Result<Vec<(usize, Running)>, Stop>>,
}

impl<T: Transport + 'static, D: Disk + 'static> Copy<T, D> {
    /// Takes in what is restored, and goes on with tasks that are ours and not here.
    pub(super) async fn take_over(&mut self, of: &Membership) -> Result<(), Stop> {
        let missing = self.missing(of);
        // Who lost a task meanwhile has read what its next owner wrote; and one that is near does not wait for one that is not.
        self.taking.take_if(|taking| taking.of != missing);
        if let Some(taken) = self.taking.as_mut().and_then(|taking| taking.taken.take()) {
            self.taking = None;
            self.tasks.extend(taken?);
        }
        if self.taking.is_none() {
            let missing = self.missing(of);
            if missing.is_empty() {
                self.leave_untaken();
                return Ok(());
            }
            let (setup, place) = (Rc::clone(&self.setup), Rc::clone(&self.place));
            let Bounds { leap, table_bytes, .. } = self.bounds;
            let takeover = Takeover { setup, place, leap, table_bytes, sabotage: self.sabotage, of: missing.clone() };
            let (step, work) = (Step::ReadChangelogEnd, Box::pin(takeover.run()));
            self.taking = Some(Taking { of: missing, step, refused: 0, rest: 0, work, taken: None });
        }
        if let Some(taking) = &mut self.taking {
            taking.go_on(&self.place).await;
            self.place.held_up.set((taking.refused > 0).then_some(taking.step));
        }
        Ok(())
    }

    fn missing(&self, of: &Membership) -> BTreeMap<usize, u64> {
        of.tasks.iter().filter(|(task, _)| !self.tasks.contains_key(*task)).map(|(task, since)| (*task, *since)).collect()
    }

    /// Gives up what is being taken over, if anything is: what the disk took of it stays there.
    pub(super) fn leave_untaken(&mut self) {
        self.taking = None;
        self.place.held_up.set(None);
        self.place.transport.borrow_mut().close_past();
    }
}

impl Taking {
    /// Makes as many calls as tasks are on their way.
    async fn go_on<T: Transport, D: Disk>(&mut self, place: &Place<T, D>) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let mut moved = false;
        for _ in 0..self.of.len() {
            place.stand_before(self.step).await;
            let polled = poll_fn(|context| Poll::Ready(self.work.as_mut().poll(context))).await;
            self.step = place.step.get();
            moved |= place.again.replace(0) == 0;
            if let Poll::Ready(taken) = polled {
                self.taken = Some(taken);
                return;
            }
        }
        self.refused = if moved { 0 } else { self.refused + 1 };
        self.rest = self.refused.min(LONGEST_REST);
    }
}

/// What taking tasks over needs.
struct Takeover<T, D> {
    setup: Rc<Setup>,
    place: Rc<Place<T, D>>,
    leap: u64,
    table_bytes: usize,
    sabotage: Option<Sabotage>,
    /// What said that each is ours.
    of: BTreeMap<usize, u64>,
}

/// A task as of its last checkpoint.
struct Restored<'s> {
    number: usize,
    since: u64,
    task: Task,
    /// The offset that the group committed of its input.
    committed: u64,
    rows: Rows,
    refold: Refold<'s>,
}

impl<T: Transport, D: Disk> Takeover<T, D> {
    /// Takes over those that are near, or one of them all.
    async fn run(self) -> Result<Vec<(usize, Running)>, Stop> {
        let near = self.nearest().await?;
        let mut restored =
            self.place.all(near.into_iter().map(|number| Box::pin(self.restored(number)) as Work<'_, Restored<'_>>).collect()).await?;
        let partitions: BTreeSet<usize> = restored.iter().map(|restored| self.setup.leaves[restored.number]).collect();
        for partition in partitions {
            self.read_leaves(partition, &mut restored).await?;
        }
        self.place.all(restored.into_iter().map(|restored| Box::pin(self.folded(restored)) as Work<'_, _>).collect()).await
    }

    /// The tasks whose disk lacks few rows of their changelog, or the one whose disk lacks the fewest.
    async fn nearest(&self) -> Result<Vec<usize>, Stop> {
        let mut missing = Vec::new();
        for number in self.of.keys().copied() {
            let partition = self.setup.changelog(number);
            let end = self.place.read(Step::ReadChangelogEnd, |transport| transport.end_of(partition)).await?;
            missing.push((end.saturating_sub(self.place.disk.borrow().mark(number)?.next), number));
        }
        missing.sort_unstable();
        let near = missing.partition_point(|(rows, _)| *rows <= self.leap).max(1);
        Ok(missing.into_iter().take(near).map(|(_, number)| number).collect())
    }

    async fn restored(&self, number: usize) -> Result<Restored<'_>, Stop> {
        let (input, since) = (self.setup.layout.tasks[number].input, self.of.get(&number).copied().unwrap_or_default());
        let committed = self.place.read(Step::ReadCommitted, |transport| transport.committed(input)).await?;
        self.restore(number).await?;
        let (mut task, rows, last) = self.stored(number, committed)?;
        if self.sabotage == Some(Sabotage::Position) {
            task.position = committed;
        }
        Ok(Restored { number, task, committed, rows, since, refold: Refold::new(&self.setup, number, last, self.sabotage) })
    }

    /// Brings the disk to the end of the changelog.
    async fn restore(&self, number: usize) -> Result<(), Stop> {
        let (partition, disk) = (self.setup.changelog(number), &self.place.disk);
        loop {
            let epoch = self.place.read(Step::ReadChangelogEpoch, |transport| transport.epoch_of(partition)).await?;
            // Whoever was refused since we own the task wrote before this end or not at all.
            let end = self.place.read(Step::ReadChangelogEnd, |transport| transport.end_of(partition)).await?;
            let mut mark = disk.borrow().mark(number)?;
            if mark.epoch != epoch || mark.next > end || disk.borrow().is_outdated(number)? {
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
            let (mut rows, mut bytes, mut next) = (Rows::new(), 0, mark.next);
            while next < end && bytes < self.table_bytes {
                let read = |transport: &mut T| match transport.epoch_of(partition)? == mark.epoch {
                    true => {
                        let mut take = |key: &[u8], row: &[u8]| {
                            bytes += key.len() + row.len();
                            rows.insert(key.into(), row.into());
                        };
                        transport.read_rows(partition, next, end, &mut take).map(Some)
                    }
                    false => Ok(None),
                };
                let Some(behind) = self.place.read(Step::ReadChangelog, read).await? else { return Ok(false) };
                next = behind;
            }
            if bytes >= self.table_bytes {
                if !self.store_restored(partition, mark.epoch, |disk| disk.lay(number, &rows)).await? {
                    return Ok(false);
                }
                rows.clear();
            }
            mark.next = next;
            if !self.store_restored(partition, mark.epoch, |disk| disk.write(number, &rows, mark)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes to the disk what was read of a changelog; gives whether that lost nothing meanwhile.
    async fn store_restored(
        &self,
        partition: usize,
        epoch: u64,
        mut write: impl FnMut(&mut D) -> Result<(), Refused>,
    ) -> Result<bool, Stop> {
        let store = |transport: &mut T| match transport.epoch_of(partition)? == epoch {
            true => write(&mut self.place.disk.borrow_mut()).map(|()| true),
            false => Ok(false),
        };
        self.place.read(Step::StoreRestored, store).await
    }

    /// A task as the disk holds it, rows that the next checkpoint has to write, and where the task's last records were. Refused where
    /// another version of the logic computed what is to be folded again.
    fn stored(&self, number: usize, committed: u64) -> Result<(Task, Rows, Last), Stop> {
        let disk = self.place.disk.borrow();
        let mut task = Task::new(number, Arc::clone(&self.setup.layout), merit_codec::fingerprint);
        if disk.row(number, &self.setup.task_key(number))?.is_none() {
            // What is left of a changelog without the task's own row belongs to nothing: the next checkpoint deletes it.
            let rows = disk.keys(number)?.into_iter().map(|key| (key, Vec::new())).collect();
            return Ok((task, rows, Last::default()));
        }
        task.restore(&disk.rows(number)).map_err(|error| Stop::Task(number, error))?;
        let last = disk.row(number, &self.setup.last_key(number))?.and_then(|row| Last::from_row(&row));
        let (logic_version, last) = last.unwrap_or_default();
        if logic_version != LOGIC_VERSION && task.position < committed {
            let error = RuntimeError::Upgrade { found: logic_version.to_string(), own: LOGIC_VERSION };
            return Err(Stop::Task(number, error));
        }
        Ok((task, Rows::new(), last))
    }

    /// Reads the leaves of a partition that refolds look for, to its end: whatever was open before has ended by there.
    async fn read_leaves(&self, partition: usize, restored: &mut [Restored<'_>]) -> Result<(), Stop> {
        let place = &self.place;
        let mut refolds: Vec<&mut Refold<'_>> = restored
            .iter_mut()
            .filter(|restored| self.setup.leaves[restored.number] == partition)
            .map(|restored| &mut restored.refold)
            .collect();
        let end = place.read(Step::ReadOutputs, |transport| transport.end_of(partition)).await?;
        let spans = refolds.iter().flat_map(|refold| refold.spans(end)).collect();
        for Range { start, end } in joined(spans, self.leap) {
            let mut next = start;
            while next < end {
                let mut take = |offset, frame: Option<Frame<'_>>| {
                    if let Some(frame) = frame.filter(|_| offset < end) {
                        refolds.iter_mut().for_each(|refold| refold.take(offset, &frame));
                    }
                };
                next = place.read(Step::ReadOutputs, |transport| transport.read_past(partition, next, end, &mut take)).await?;
            }
        }
        refolds.into_iter().for_each(|refold| refold.is_read_to(end));
        Ok(())
    }

    /// Folds the inputs since the checkpoint again.
    async fn folded(&self, restored: Restored<'_>) -> Result<(usize, Running), Stop> {
        let Restored { number, since, mut task, committed, rows, mut refold } = restored;
        let (input, failed) = (self.setup.layout.tasks[number].input, |error| Stop::Task(number, error));
        let (mut unsaved, mut next) = (0, task.position);
        while next < committed {
            let mut ran = Ok(());
            let mut take = |offset, frame: Option<Frame<'_>>| {
                if ran.is_ok() && offset < committed {
                    ran = step(&self.setup, &mut task, offset, frame.as_ref(), &mut refold);
                    unsaved += 1;
                }
            };
            next = self.place.read(Step::ReadInputs, |transport| transport.read(input, next, committed, &mut take)).await?;
            ran.map_err(failed)?;
        }
        let (last, unsent) = refold.finish(&task).map_err(failed)?;
        Ok((number, Running { task, since, rows, last, unsaved, unsent }))
    }
}

/// In order, and those as one between which no more than `gap` lies.
fn joined(mut spans: Vec<Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    spans.retain(|span| !span.is_empty());
    spans.sort_unstable_by_key(|span| span.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end.saturating_add(gap) => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_joined_where_little_lies_between() {
        let of = |spans: &[(u64, u64)]| spans.iter().map(|(start, end)| *start..*end).collect::<Vec<_>>();
        let cases: [(&[_], u64, &[_]); 6] = [
            (&[], 4, &[]),
            (&[(5, 5), (7, 8)], 0, &[(7, 8)]),
            (&[(7, 8), (0, 3)], 4, &[(0, 8)]),
            (&[(7, 8), (0, 3)], 3, &[(0, 3), (7, 8)]),
            (&[(0, 9), (2, 3), (9, 10)], 0, &[(0, 10)]),
            (&[(0, 1), (u64::MAX - 1, u64::MAX)], 1 << 20, &[(0, 1), (u64::MAX - 1, u64::MAX)]),
        ];
        for (spans, gap, expected) in cases {
            assert_eq!(joined(of(spans), gap), of(expected), "{spans:?} {gap}");
        }
    }
}
