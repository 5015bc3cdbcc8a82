//! From the last checkpoint to the end of the log.

use super::log::{EndsRow, Log};
use super::replay::Comparison;
use crate::layout::Layout;
use crate::store::{BASE, Commit, Store, TaskRows};
use crate::task::Task;
use crate::{Failpoint, RuntimeError};
use merit_audit::Signer;
use merit_core::{Datum, Rows};
use std::sync::Arc;

/// Whether another version of the logic made the checkpoint; refuses if it also wrote something behind that.
pub(super) fn is_upgraded(store: &Store, logic_version: u32) -> Result<bool, RuntimeError> {
    let found = store.meta("logic")?;
    let is_upgraded = found.as_deref() != Some(logic_version.to_string().as_bytes());
    if is_upgraded && store.meta("ends")? != store.meta("checkpoint")? {
        let found = found.map_or("none".into(), |found| String::from_utf8_lossy(&found).into_owned());
        return Err(RuntimeError::Upgrade { found, own: logic_version });
    }
    Ok(is_upgraded)
}

/// Restores every task and refolds its inputs since the checkpoint; what it emits must be in the log already.
pub(super) fn recover(store: &Arc<Store>, layout: &Arc<Layout>, signer: &Signer) -> Result<(Vec<Task>, Log, u64), RuntimeError> {
    layout.check(store)?;
    if store.meta("checkpoint")?.is_none() {
        rebuild(store)?;
    }
    let mut tasks: Vec<Task> = (0..layout.tasks.len()).map(|task| Task::new(task, Arc::clone(layout), merit_codec::fingerprint)).collect();
    let log = log_at(store, layout, "ends")?;
    let from = log_at(store, layout, "checkpoint")?;
    let mut refolded = 0;
    for (number, task) in tasks.iter_mut().enumerate() {
        task.restore(&rows_of(store, layout, number, &[]))?;
        let mut comparison = Comparison::of_task(store, layout, number, &from);
        let mut inputs = store.read(&layout.partitions[layout.tasks[number].input], task.position);
        while let Some((offset, frame)) = inputs.next()? {
            super::step_frame(task, offset, &frame, Some(signer), &mut comparison)?;
            refolded += 1;
            comparison.name_lineage(task.lineage());
        }
        comparison.finish()?;
        Failpoint::TaskRecovered.pass();
    }
    Ok((tasks, log, refolded))
}

/// The rows of a task, whose keys begin with `under`: nothing, or that of the base.
pub(super) fn rows_of(store: &Arc<Store>, layout: &Layout, task: usize, under: &'static [u8]) -> Arc<dyn Rows> {
    let task = &layout.tasks[task];
    Arc::new(TaskRows { store: Arc::clone(store), under, sub_topology: task.name.clone(), partition: task.partition })
}

/// Makes the base the last checkpoint, where there is a base: what was before it is gone.
fn rebuild(store: &Store) -> Result<(), RuntimeError> {
    let Some(base) = store.meta("base")? else { return Ok(()) };
    let mut commit = Commit { meta: vec![("checkpoint".into(), base)], ..Commit::default() };
    store.state_rows(BASE, |key, row| commit.state.push((key.to_vec(), row.to_vec())))?;
    store.commit(&mut commit, &[])
}

/// The log as it ended when a row of the meta family was written; an empty one where it never was.
pub(super) fn log_at(store: &Store, layout: &Arc<Layout>, row: &str) -> Result<Log, RuntimeError> {
    let unreadable = || RuntimeError::Store { attempt: "read", cause: "the row of the log's ends is not one".into() };
    let bytes = store.meta(row)?;
    let row = bytes.as_deref().map(|bytes| EndsRow::decode(bytes).ok_or_else(unreadable)).transpose()?;
    Ok(Log::new(layout, row))
}
