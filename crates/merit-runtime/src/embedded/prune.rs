//! Removing what retention lets go, behind a base from which the rest can still be computed again.
//!
//! The log is computed again up to the cut and compared on the way, so nothing goes that was not proved. One commit then holds all
//! of it: state and position at the cut (the base), the first offsets that are left, and the removal of whole batches before them.
//! A record stays that no `stream.seal` covers, or that a start would still refold.

use super::recovery::log_at;
use super::replay::Rerun;
use crate::frame::Frame;
use crate::layout::{Layout, Partition, Registered};
use crate::store::{BASE, Commit, Store};
use crate::{Failpoint, RuntimeError};
use merit_audit::Signer;
use merit_core::EventTime;
use merit_topology::Topology;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is removed of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that was left before.
    pub from: u64,
    /// The first offset that is left now.
    pub to: u64,
    /// The offset behind the last record.
    pub end: u64,
}

/// Removes what the retention of topics lets go, and gives what was removed of each partition that has one. With `dry_run` the
/// store may be open to read alone, and nothing is removed.
///
/// A record's age is how far its time lies behind the newest of the log, so a log that does not grow loses nothing.
pub fn prune(
    store: &Arc<Store>,
    topology: &Topology,
    registered: &[Registered],
    signer: Option<&Signer>,
    dry_run: bool,
    mut progress: impl FnMut(u64),
) -> Result<Vec<Cut>, RuntimeError> {
    Failpoint::PruneBegins.pass();
    let layout = Arc::new(Layout::new(topology, registered));
    layout.check(store)?;
    let retained: Vec<usize> = (0..layout.partitions.len()).filter(|at| layout.partitions[*at].retention.is_some()).collect();
    let newest = log_at(store, &layout, "ends")?.newest;
    let mut due = BTreeMap::new();
    for at in &retained {
        let partition = &layout.partitions[*at];
        due.insert(*at, first_kept(store, partition, |_, frame| is_old(partition, frame.time, newest))?);
    }
    let checkpoint = log_at(store, &layout, "checkpoint")?;
    let mut rerun = Rerun::new(store, &layout, signer)?;
    while rerun.outside < checkpoint.outside && due.iter().any(|(at, due)| rerun.position(*at) < *due) && rerun.step()? {
        if rerun.outside.is_multiple_of(10_000) {
            progress(rerun.outside);
        }
    }
    Failpoint::PruneComputed.pass();
    let mut pruned = store.pruned().clone();
    let mut commit = Commit::default();
    let mut cuts = Vec::new();
    for at in retained {
        let partition = &layout.partitions[at];
        let before = due[&at].min(rerun.position(at));
        let (from, end) = (store.start(partition), store.end(partition)?);
        let to = first_kept(store, partition, |offset, frame| offset < before && is_sealed(&rerun, &layout, partition, offset, frame))?;
        cuts.push(Cut { topic: partition.name.clone(), partition: partition.partition, from, to, end });
        if from < to {
            pruned.partitions.insert((partition.name.clone(), partition.partition), to);
            commit.pruned.push((at, from, to));
            note_streams(store, partition, to, &mut pruned.streams)?;
        }
    }
    if commit.pruned.is_empty() || dry_run {
        return Ok(cuts);
    }
    for task in &mut rerun.tasks {
        task.checkpoint(&mut |key, row| commit.state.push(([BASE, &key].concat(), row.to_vec())));
    }
    commit.meta = vec![("base".into(), rerun.ends_row()), ("pruned".into(), pruned.encode())];
    Failpoint::PruneGathered.pass();
    store.commit(&mut commit, &layout.partitions)?;
    Failpoint::PruneWritten.pass();
    store.reclaim();
    Failpoint::PruneReclaimed.pass();
    Ok(cuts)
}

fn is_old(partition: &Partition, time: EventTime, newest: EventTime) -> bool {
    partition.retention.is_some_and(|retention| newest.0.saturating_sub(time.0) > retention.0)
}

/// Whether a seal covers a record, as published and, where a task reads it, as read.
fn is_sealed(rerun: &Rerun<'_>, layout: &Layout, partition: &Partition, offset: u64, frame: &Frame<'_>) -> bool {
    let read = partition.reader.is_none_or(|reader| offset < rerun.tasks[reader].sealed_inputs());
    let writer = layout.tasks.iter().position(|task| !frame.is_outside() && task.owns(frame.stream));
    read && writer.is_none_or(|writer| rerun.tasks[writer].is_sealed(frame.stream, frame.sequence))
}

/// The end of the last batch of those at a partition's start in which every record may go.
fn first_kept(store: &Store, partition: &Partition, may_go: impl Fn(u64, &Frame<'_>) -> bool) -> Result<u64, RuntimeError> {
    let mut kept = store.start(partition);
    let mut records = store.records(partition);
    while let Some((offset, frame)) = records.next()? {
        if !may_go(offset, &frame) {
            break;
        }
        if records.is_at_batch_end() {
            kept = offset + 1;
        }
    }
    Ok(kept)
}

/// Notes of each stream the last sequence that goes with the records before `to`.
fn note_streams(store: &Store, partition: &Partition, to: u64, streams: &mut BTreeMap<u32, u64>) -> Result<(), RuntimeError> {
    let mut records = store.records(partition);
    while let Some((_, frame)) = records.next()?.filter(|(offset, _)| *offset < to) {
        if !frame.is_outside() {
            let start = streams.entry(frame.stream).or_default();
            *start = (*start).max(frame.sequence + 1);
        }
    }
    Ok(())
}
