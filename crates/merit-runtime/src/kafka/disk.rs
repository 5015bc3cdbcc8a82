//! The disk of a copy: the state family of its data directory, with a mark a task that says how far it followed the changelog.

use super::settings::LEAST_DAYS;
use crate::RuntimeError;
use crate::copy::{self, Mark, Refused, Rows, Setup};
use crate::live::now;
use crate::store::{Commit, Store, TaskRows};
use merit_core::{Duration, EventTime};
use std::rc::Rc;
use std::sync::Arc;

/// How old a mark may be, in milliseconds: a day less than the changelog tells of deleted rows. One from as far ahead comes of a clock
/// that was wrong.
const OUTDATED: Duration = Duration((LEAST_DAYS - 1) * 24 * Duration::HOUR.0);

/// The directory of a copy.
pub(super) struct Disk {
    setup: Rc<Setup>,
    store: Arc<Store>,
}

impl Disk {
    /// What is there.
    pub(super) fn new(setup: &Rc<Setup>, store: &Arc<Store>) -> Disk {
        Disk { setup: Rc::clone(setup), store: Arc::clone(store) }
    }

    /// Offset, epoch, and when that was so; none before the first.
    fn marked(&self, task: usize) -> Result<Option<(Mark, EventTime)>, Refused> {
        let Some(row) = self.store.meta(&self.mark_key(task)).map_err(failed)? else { return Ok(None) };
        let words: Vec<u64> = row.as_chunks().0.iter().copied().map(u64::from_be_bytes).collect();
        Ok(Some(match words[..] {
            [next, epoch, at] => (Mark { next, epoch }, EventTime(at as i64)),
            // Another program wrote it: rows are there, and nobody knows of when.
            _ => (Mark::default(), EventTime::MIN),
        }))
    }

    fn mark_key(&self, task: usize) -> String {
        let task = &self.setup.layout.tasks[task];
        format!("changelog/{}/{}", task.name, task.partition)
    }

    fn prefix(&self, task: usize) -> Vec<u8> {
        let task = &self.setup.layout.tasks[task];
        [task.name.as_bytes(), &[0], &task.partition.to_be_bytes()].concat()
    }
}

fn failed(error: RuntimeError) -> Refused {
    Refused::Failed(error)
}

impl copy::Disk for Disk {
    fn mark(&self, task: usize) -> Result<Mark, Refused> {
        Ok(self.marked(task)?.map_or(Mark::default(), |(mark, _)| mark))
    }

    fn is_outdated(&self, task: usize) -> Result<bool, Refused> {
        Ok(self.marked(task)?.is_some_and(|(_, at)| now().0.abs_diff(at.0) > OUTDATED.0 as u64))
    }

    fn row(&self, _: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        self.store.state_row(key).map_err(failed)
    }

    fn rows(&self, task: usize) -> Arc<dyn merit_core::Rows> {
        let task = &self.setup.layout.tasks[task];
        let (store, sub_topology, partition) = (Arc::clone(&self.store), task.name.clone(), task.partition);
        Arc::new(TaskRows { store, under: &[], sub_topology, partition })
    }

    fn keys(&self, task: usize) -> Result<Vec<Vec<u8>>, Refused> {
        let prefix = self.prefix(task);
        let mut keys = Vec::new();
        self.store.state_rows(&prefix, |rest, _| keys.push([prefix.as_slice(), rest].concat())).map_err(failed)?;
        Ok(keys)
    }

    fn write(&mut self, task: usize, rows: &Rows, mark: Mark) -> Result<(), Refused> {
        let state = rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        let mark = [mark.next, mark.epoch, now().0 as u64].map(u64::to_be_bytes).concat();
        let meta = vec![(self.mark_key(task), mark)];
        self.store.commit(&mut Commit { state, meta, ..Commit::default() }, &[]).map_err(failed)
    }

    fn lay(&mut self, task: usize, rows: &Rows) -> Result<(), Refused> {
        if self.marked(task)?.is_none() {
            // Rows whose age nobody knows would stay where the changelog has forgotten that they were deleted.
            self.write(task, &Rows::new(), Mark::default())?;
        }
        self.store.lay(rows.iter().map(|(key, row)| (key.as_slice(), row.as_slice()))).map_err(failed)
    }

    fn clear(&mut self, task: usize) -> Result<(), Refused> {
        let rows = self.keys(task)?.into_iter().map(|key| (key, Vec::new())).collect();
        self.write(task, &rows, Mark::default())
    }
}
