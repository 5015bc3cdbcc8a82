//! From the last checkpoint to the end of the log.

use super::log::{Log, ends_row};
use super::replay::Comparison;
use crate::layout::{Layout, Partition};
use crate::lineage::{Cause, each_epoch};
use crate::store::{BASE, Commit, Store, TaskRows};
use crate::task::{Outgoing, Publisher, Task};
use crate::{Failpoint, RuntimeError};
use merit_audit::Signer;
use merit_core::record::{Lineage, LogEnds};
use merit_core::{Datum, Rows};
use std::sync::Arc;

/// Rows that are read in one pass in the time in which one input of a tail reads its own one by one, about.
const ROWS_AN_INPUT: u64 = 32;

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

/// A part of the log that differed and stands as it was found: it ends where a new lineage begins.
pub(super) struct Gap {
    pub(super) cause: Cause,
    /// Up to here the log is as computed.
    pub(super) base: Log,
    pub(super) ends: Log,
}

impl Gap {
    pub(super) fn of(layout: &Arc<Layout>, lineage: &Lineage<'_>) -> Gap {
        let log = |ends| Log::new(layout, Some(ends));
        Gap { cause: Cause::of(lineage), base: log(lineage.base), ends: log(lineage.ends) }
    }
}

/// The gaps whose lineage began behind `from`, in order.
pub(super) fn gaps(store: &Store, layout: &Arc<Layout>, from: &Log) -> Result<Vec<Gap>, RuntimeError> {
    let genesis = layout.tasks[layout.tasks.len() - 1].input;
    let mut gaps = Vec::new();
    each_epoch(store, layout, from.end(genesis), |_, epoch| {
        gaps.extend(epoch.lineage.map(|lineage| Gap::of(layout, &lineage)));
    })?;
    Ok(gaps)
}

/// Restores every task and refolds its inputs since the checkpoint; what it emits must be in the log already, but for gaps: `more`
/// are those that the log does not tell of.
pub(super) fn recover(
    store: &Arc<Store>,
    layout: &Arc<Layout>,
    signer: &Signer,
    more: Option<Gap>,
) -> Result<(Vec<Task>, Log, u64), RuntimeError> {
    layout.check(store)?;
    if store.meta("checkpoint")?.is_none() {
        rebuild(store)?;
    }
    let mut tasks: Vec<Task> = (0..layout.tasks.len()).map(|task| Task::new(task, Arc::clone(layout), merit_codec::fingerprint)).collect();
    let log = log_at(store, layout, "ends")?;
    let from = log_at(store, layout, "checkpoint")?;
    let mut gaps = gaps(store, layout, &from)?;
    gaps.extend(more);
    let tail: u64 = layout.tasks.iter().map(|task| log.end(task.input).saturating_sub(from.end(task.input))).sum();
    let ahead = store.state_is_small(tail * ROWS_AN_INPUT)?;
    let recover = |(number, task): (usize, &mut Task)| {
        let refolded = recover_task(store, layout, signer, number, task, ahead, &from, &gaps)?;
        Failpoint::TaskRecovered.pass();
        Ok(refolded)
    };
    // Each task is alone with its inputs, so they are recovered side by side; of several faults that of the first task is told.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    let mut shares: Vec<Vec<(usize, &mut Task)>> = (0..threads).map(|_| Vec::new()).collect();
    tasks.iter_mut().enumerate().for_each(|task| shares[task.0 % threads].push(task));
    let mut done: Vec<(usize, Result<u64, RuntimeError>)> = std::thread::scope(|scope| {
        let each = |share: Vec<(usize, &mut Task)>| share.into_iter().map(|task| (task.0, recover(task))).collect::<Vec<_>>();
        let running: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || each(share))).collect();
        running.into_iter().flat_map(|share| share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    done.sort_by_key(|(number, _)| *number);
    let refolded = done.into_iter().map(|(_, refolded)| refolded).sum::<Result<u64, RuntimeError>>()?;
    store.begin_merges()?;
    Ok((tasks, log, refolded))
}

/// Restores a task and refolds its inputs; gives their number.
#[expect(clippy::too_many_arguments, reason = "one a part of what is recovered from")]
fn recover_task(
    store: &Arc<Store>,
    layout: &Arc<Layout>,
    signer: &Signer,
    number: usize,
    task: &mut Task,
    ahead: bool,
    from: &Log,
    gaps: &[Gap],
) -> Result<u64, RuntimeError> {
    task.restore(&rows_of(store, layout, number, &[]))?;
    if ahead {
        task.load()?;
    }
    let input = layout.tasks[number].input;
    let inputs = &layout.partitions[input];
    let mut comparison = Comparison::of_task(store, layout, number, from);
    let mut refolded = 0;
    for gap in gaps {
        refolded += refold(store, inputs, task, gap.base.end(input), Some(signer), &mut comparison)?;
        comparison.pass(gap)?;
        refolded += refold(store, inputs, task, gap.ends.end(input), None, &mut Unheard)?;
    }
    refolded += refold(store, inputs, task, u64::MAX, Some(signer), &mut comparison)?;
    comparison.finish()?;
    Ok(refolded)
}

/// The row of a log that ends with its last records, whatever was committed.
pub(super) fn found_ends(store: &Store, layout: &Arc<Layout>, base: &Log) -> Result<Vec<u8>, RuntimeError> {
    let log = log_at(store, layout, "ends")?;
    let mut ends = Vec::new();
    for (at, partition) in layout.partitions.iter().enumerate() {
        let offset = store.end(partition)?;
        if offset < base.end(at) {
            let (topic, cause) = (partition.name.clone(), "the records up to the last checkpoint are not there".into());
            return Err(RuntimeError::Corrupt { topic, partition: partition.partition, offset, cause });
        }
        ends.push(offset);
    }
    Ok(ends_row(layout, log.outside, log.newest, |at| ends[at]))
}

/// Runs the recorded inputs of a task up to an offset; gives their number.
pub(super) fn refold(
    store: &Store,
    inputs: &Partition,
    task: &mut Task,
    to: u64,
    signer: Option<&Signer>,
    publisher: &mut dyn Publisher,
) -> Result<u64, RuntimeError> {
    let from = task.position;
    let mut inputs = store.read(inputs, from);
    while task.position < to
        && let Some((offset, frame)) = inputs.next()?
    {
        super::step_frame(task, offset, &frame, signer, publisher)?;
    }
    Ok(task.position - from)
}

/// Takes what tasks publish in a gap, where the log stands as it was found.
pub(super) struct Unheard;

impl Publisher for Unheard {
    fn publish(&mut self, _: &Outgoing<'_>) -> Result<(), RuntimeError> {
        Ok(())
    }
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
    let row = bytes.as_deref().map(|bytes| LogEnds::decode(bytes).ok_or_else(unreadable)).transpose()?;
    Ok(Log::new(layout, row))
}
