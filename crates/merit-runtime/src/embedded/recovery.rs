//! From the last checkpoint to the end of the log.

use super::log::{EndsRow, Log};
use super::replay::Comparison;
use crate::RuntimeError;
use crate::layout::Layout;
use crate::store::Store;
use crate::task::Task;
use merit_audit::Signer;
use merit_core::Datum;
use std::sync::Arc;

/// Restores every task and refolds its inputs since the checkpoint; what it emits must be in the log already.
pub(super) fn recover(store: &Store, layout: &Arc<Layout>, signer: &Signer) -> Result<(Vec<Task>, Log, u64), RuntimeError> {
    let mut tasks: Vec<Task> = (0..layout.tasks.len()).map(|task| Task::new(task, Arc::clone(layout), merit_codec::fingerprint)).collect();
    let ends = store.meta("ends")?;
    let log = Log::new(layout, row(ends.as_deref())?);
    let checkpoint = store.meta("checkpoint")?;
    let from = Log::new(layout, row(checkpoint.as_deref())?);
    let mut refolded = 0;
    for (number, task) in tasks.iter_mut().enumerate() {
        task.restore(store)?;
        let mut comparison = Comparison::of_task(store, layout, number, &from);
        let mut inputs = store.read(&layout.partitions[layout.tasks[number].input], task.position);
        while let Some((offset, frame)) = inputs.next()? {
            super::step_frame(task, offset, &frame, Some(signer), &mut comparison)?;
            refolded += 1;
        }
        comparison.finish()?;
    }
    Ok((tasks, log, refolded))
}

fn row(bytes: Option<&[u8]>) -> Result<Option<EndsRow<'_>>, RuntimeError> {
    let unreadable = || RuntimeError::Store { attempt: "read", cause: "the row of the log's ends is not one".into() };
    bytes.map(|bytes| EndsRow::decode(bytes).ok_or_else(unreadable)).transpose()
}
