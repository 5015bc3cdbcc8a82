//! The disk of a copy.

use crate::copy::{Mark, Refused, Rows, Setup};
use crate::{RuntimeError, copy, store, task::Task};
use merit_core::table::RowMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What it holds of a task.
#[derive(Default)]
struct Base {
    rows: Rows,
    mark: Mark,
}

/// Rows and marks by task.
pub(super) struct Disk {
    setup: Rc<Setup>,
    bases: BTreeMap<usize, Base>,
    pub(super) full: bool,
}

impl Disk {
    pub(super) fn new(setup: &Rc<Setup>) -> Disk {
        Disk { setup: Rc::clone(setup), bases: BTreeMap::new(), full: false }
    }
}

impl copy::Disk for Disk {
    fn mark(&self, task: usize) -> Result<Mark, Refused> {
        Ok(self.bases.get(&task).map_or(Mark::default(), |base| base.mark))
    }

    fn is_outdated(&self, _: usize) -> Result<bool, Refused> {
        Ok(false)
    }

    fn row(&self, task: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        Ok(self.bases.get(&task).and_then(|base| base.rows.get(key).cloned()))
    }

    fn rows(&self, task: usize) -> Arc<dyn merit_core::Rows> {
        row_map(&self.setup, task, self.bases.get(&task).map_or(&Rows::new(), |base| &base.rows))
    }

    fn keys(&self, task: usize) -> Result<Vec<Vec<u8>>, Refused> {
        Ok(self.bases.get(&task).into_iter().flat_map(|base| base.rows.keys().cloned()).collect())
    }

    fn write(&mut self, task: usize, rows: &Rows, mark: Mark) -> Result<(), Refused> {
        self.lay(task, rows)?;
        self.bases.entry(task).or_default().mark = mark;
        Ok(())
    }

    fn lay(&mut self, task: usize, rows: &Rows) -> Result<(), Refused> {
        if self.full {
            return Err(Refused::Retry);
        }
        let base = self.bases.entry(task).or_default();
        base.rows.extend(rows.iter().map(|(key, row)| (key.clone(), row.clone())));
        base.rows.retain(|_, row| !row.is_empty());
        Ok(())
    }

    fn clear(&mut self, task: usize) -> Result<(), Refused> {
        self.bases.remove(&task);
        Ok(())
    }
}

/// A task as its rows say.
pub(super) fn restored(setup: &Setup, number: usize, rows: &Rows) -> Result<Task, RuntimeError> {
    let mut task = Task::new(number, Arc::clone(&setup.layout), merit_codec::fingerprint);
    task.restore(&row_map(setup, number, rows))?;
    Ok(task)
}

/// The rows of a task by store, key and part.
fn row_map(setup: &Setup, number: usize, rows: &Rows) -> Arc<dyn merit_core::Rows> {
    let task = &setup.layout.tasks[number];
    let mut map = RowMap::default();
    let prefix = [task.name.as_bytes(), &[0], &task.partition.to_be_bytes()].concat();
    for (key, row) in rows {
        let rest = key.strip_prefix(prefix.as_slice()).unwrap_or_default();
        let store = rest.iter().position(|byte| *byte == 0).map(|end| (String::from_utf8_lossy(&rest[..end]), &rest[end + 1..]));
        if let Some((store, (key, part))) = store.and_then(|(store, rest)| Some((store, store::key_and_part(rest)?))) {
            map.put(&store, key, part, row);
        }
    }
    Arc::new(map)
}
