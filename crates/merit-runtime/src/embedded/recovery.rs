//! From the last checkpoint to the end of the log.

use super::log::{EndsRow, Log};
use super::replay::Comparison;
use crate::layout::Layout;
use crate::store::{BASE, Commit, Store, state_key};
use crate::task::Task;
use crate::{Failpoint, RuntimeError};
use merit_audit::Signer;
use merit_core::Datum;
use std::sync::Arc;

/// Restores every task and refolds its inputs since the checkpoint; what it emits must be in the log already.
pub(super) fn recover(store: &Store, layout: &Arc<Layout>, signer: &Signer) -> Result<(Vec<Task>, Log, u64), RuntimeError> {
    layout.check(store)?;
    if store.meta("checkpoint")?.is_none() {
        rebuild(store)?;
    }
    let mut tasks: Vec<Task> = (0..layout.tasks.len()).map(|task| Task::new(task, Arc::clone(layout), merit_codec::fingerprint)).collect();
    let log = log_at(store, layout, "ends")?;
    let from = log_at(store, layout, "checkpoint")?;
    let mut refolded = 0;
    for (number, task) in tasks.iter_mut().enumerate() {
        task.restore(store, &[])?;
        let mut comparison = Comparison::of_task(store, layout, number, &from);
        let mut inputs = store.read(&layout.partitions[layout.tasks[number].input], task.position);
        while let Some((offset, frame)) = inputs.next()? {
            super::step_frame(task, offset, &frame, Some(signer), &mut comparison)?;
            refolded += 1;
        }
        comparison.finish()?;
        Failpoint::TaskRecovered.pass();
    }
    Ok((tasks, log, refolded))
}

/// Makes the base the last checkpoint, where there is a base: what was before it is gone.
fn rebuild(store: &Store) -> Result<(), RuntimeError> {
    let Some(base) = store.meta("base")? else { return Ok(()) };
    let mut commit = Commit { meta: vec![("checkpoint".into(), base)], ..Commit::default() };
    store.state(BASE, |key, part, row| {
        commit.state.push((state_key(&[], key, part), row.to_vec()));
        Ok(())
    })?;
    store.commit(&mut commit, &[])
}

/// The log as it ended when a row of the meta family was written; an empty one where it never was.
pub(super) fn log_at(store: &Store, layout: &Arc<Layout>, row: &str) -> Result<Log, RuntimeError> {
    let unreadable = || RuntimeError::Store { attempt: "read", cause: "the row of the log's ends is not one".into() };
    let bytes = store.meta(row)?;
    let row = bytes.as_deref().map(|bytes| EndsRow::decode(bytes).ok_or_else(unreadable)).transpose()?;
    Ok(Log::new(layout, row))
}
