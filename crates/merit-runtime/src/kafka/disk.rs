//! The disk of a copy: the state family of its data directory, with a mark a task that says how far it followed the changelog.

use crate::RuntimeError;
use crate::copy::{self, Mark, Refused, Rows, Setup};
use crate::store::{Commit, Store, TaskRows};
use std::rc::Rc;
use std::sync::Arc;

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
        let row = self.store.meta(&self.mark_key(task)).map_err(failed)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or(0);
        Ok(row.filter(|row| row.len() == 16).map_or(Mark::default(), |row| Mark { next: number(&row[..8]), epoch: number(&row[8..]) }))
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
        let mark = [mark.next.to_be_bytes(), mark.epoch.to_be_bytes()].concat();
        let meta = vec![(self.mark_key(task), mark)];
        self.store.commit(&mut Commit { state, meta, ..Commit::default() }, &[]).map_err(failed)
    }

    fn clear(&mut self, task: usize) -> Result<(), Refused> {
        let rows = self.keys(task)?.into_iter().map(|key| (key, Vec::new())).collect();
        self.write(task, &rows, Mark::default())
    }
}
