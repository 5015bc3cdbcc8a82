//! The log again: computed a second time and compared, record by record.

use super::by_task::replay_tasks;
use super::log::{Log, ends_row};
use super::recovery::{Gap, Unheard, gaps, log_at, refold, rows_of};
use super::{Queued, step_frame};
use crate::RuntimeError;
use crate::error::Difference;
use crate::frame::Frame;
use crate::layout::{Layout, Registered};
use crate::lineage::{Cause, lineages};
use crate::store::{BASE, Cursor, Store};
use crate::task::{Outgoing, Publisher, Task};
use merit_audit::{EmitterKey, ParsedLeaf, Signer};
use merit_core::record::{AuditLeaf, ConfigEpoch, SealedLeaf};
use merit_core::{Datum, EventTime, Kind};
use merit_topology::Topology;
use std::collections::VecDeque;
use std::sync::Arc;

/// Compares what tasks publish with what the log holds.
pub(super) struct Comparison<'s> {
    store: &'s Store,
    layout: Arc<Layout>,
    cursors: Vec<Cursor<'s>>,
    /// The one task whose records are compared; all of them where there is none.
    task: Option<usize>,
    /// Partitions whose records are compared.
    partitions: Vec<usize>,
    /// Whether the log may end before what is computed.
    pub(super) may_lack: bool,
    /// Records that were computed behind its end.
    pub(super) lacking: u64,
    /// Records for tasks, where the whole pipeline runs.
    queue: VecDeque<Queued>,
    pub(super) compared: u64,
    emitter: Option<EmitterKey>,
}

impl<'s> Comparison<'s> {
    /// Compares what one task wrote behind a checkpoint.
    pub(super) fn of_task(store: &'s Store, layout: &Arc<Layout>, task: usize, from: &Log) -> Comparison<'s> {
        Comparison::new(store, layout, Some(task), |partition| from.end(partition))
    }

    /// Compares all that one task wrote, which is in these partitions.
    pub(super) fn of_whole_task(store: &'s Store, layout: &Arc<Layout>, task: usize, partitions: Vec<usize>) -> Comparison<'s> {
        Comparison { partitions, ..Comparison::new(store, layout, Some(task), |_| 0) }
    }

    fn new(store: &'s Store, layout: &Arc<Layout>, task: Option<usize>, from: impl Fn(usize) -> u64) -> Comparison<'s> {
        let cursors = layout.partitions.iter().enumerate().map(|(at, partition)| store.read(partition, from(at))).collect();
        let partitions = (0..layout.partitions.len()).collect();
        let (layout, queue) = (Arc::clone(layout), VecDeque::new());
        Comparison { store, layout, cursors, task, partitions, may_lack: false, lacking: 0, queue, compared: 0, emitter: None }
    }

    /// Goes on behind a gap. Fails where the log holds more before it than was computed.
    pub(super) fn pass(&mut self, gap: &Gap) -> Result<(), RuntimeError> {
        self.expect_end(|partition| gap.base.end(partition))?;
        let partitions = self.layout.partitions.iter().enumerate();
        self.cursors = partitions.map(|(at, partition)| self.store.read(partition, gap.ends.end(at))).collect();
        Ok(())
    }

    /// Fails where the log holds more than was computed.
    pub(super) fn finish(mut self) -> Result<u64, RuntimeError> {
        self.expect_end(|_| u64::MAX)?;
        Ok(self.compared)
    }

    /// Counts what the log holds more than was computed.
    pub(super) fn count_left(&mut self) -> Result<u64, RuntimeError> {
        let mut left = 0;
        for at in &self.partitions {
            while let Some((_, frame)) = self.cursors[*at].next()? {
                left += u64::from(!is_of_another(&self.layout, self.task, &frame));
            }
        }
        Ok(left)
    }

    /// Fails where a partition holds more before its end than was computed.
    fn expect_end(&mut self, end: impl Fn(usize) -> u64) -> Result<(), RuntimeError> {
        for at in self.partitions.clone() {
            let mut left = None;
            while self.cursors[at].position() < end(at)
                && let Some((offset, frame)) = self.cursors[at].next()?
            {
                if !is_of_another(&self.layout, self.task, &frame) {
                    left = Some((offset, frame.stream, frame.sequence, describe(&frame)));
                    break;
                }
            }
            if let Some((offset, stream, sequence, recorded)) = left {
                return Err(self.difference(at, offset, (stream, sequence), Differing::new("record", recorded, "nothing")));
            }
        }
        Ok(())
    }

    /// `stream` is a stream's number and a sequence in it.
    fn difference(&self, at: usize, offset: u64, stream: (u32, u64), differing: Differing) -> RuntimeError {
        let ((stream, sequence), Differing { field, recorded, computed }) = (stream, differing);
        let partition = &self.layout.partitions[at];
        // Where the names cannot be read, the difference is told all the same.
        let lineages: Vec<String> = lineages(self.store, &self.layout).into_iter().flatten().map(|lineage| lineage.name).collect();
        let named = self.layout.stream_name(stream as u16, &lineages);
        RuntimeError::Difference(Box::new(Difference {
            topic: partition.name.clone(),
            partition: partition.partition,
            offset,
            stream: named.unwrap_or_else(|| "outside".into()),
            sequence,
            field,
            recorded,
            computed,
        }))
    }

    /// Compares one record with the next of its partition and gives that one's offset, and its payload where it alone is signed.
    fn compare(&mut self, record: &Outgoing<'_>) -> Result<(u64, Option<Vec<u8>>), RuntimeError> {
        let computed = record.frame();
        let found = loop {
            match self.cursors[record.partition].next()? {
                None => break None,
                Some((_, frame)) if is_of_another(&self.layout, self.task, &frame) => {}
                Some((offset, frame)) if frame == computed => {
                    self.compared += 1;
                    return Ok((offset, None));
                }
                Some((offset, frame)) if signed_otherwise(&frame, &computed, self.emitter.as_ref()) => {
                    self.compared += 1;
                    return Ok((offset, Some(frame.payload.to_vec())));
                }
                Some((offset, frame)) => break Some((offset, first_difference(&frame, &computed))),
            }
        };
        if found.is_none() && self.may_lack {
            self.lacking += 1;
            return Ok((0, None));
        }
        let missing = || (0, Differing::new("record", "nothing more", describe(&computed)));
        let (offset, differing) = found.unwrap_or_else(missing);
        Err(self.difference(record.partition, offset, (computed.stream, computed.sequence), differing))
    }
}

impl Publisher for Comparison<'_> {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError> {
        let (offset, signed) = self.compare(record)?;
        if self.task.is_none()
            && let Some(task) = self.layout.partitions[record.partition].reader
        {
            let payload = signed.as_deref().unwrap_or(record.payload);
            self.queue.push_back(Queued::of(task, offset, &Outgoing { payload, ..*record }));
        }
        Ok(())
    }
}

/// Whether a frame was written by another than the one task that is compared.
fn is_of_another(layout: &Layout, task: Option<usize>, frame: &Frame<'_>) -> bool {
    task.is_some_and(|task| !layout.tasks[task].owns(frame.stream))
}

/// Whether two leaves differ only in that the computed one could not be signed, and the recorded signature holds.
fn signed_otherwise(recorded: &Frame<'_>, computed: &Frame<'_>, emitter: Option<&EmitterKey>) -> bool {
    fn leaf<'a>(frame: &Frame<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        match frame.kind()? {
            Kind::AuditLeaf => AuditLeaf::decode(frame.payload).map(|leaf| (leaf.leaf, leaf.payload)),
            Kind::SealedLeaf => SealedLeaf::decode(frame.payload).map(|leaf| (leaf.leaf, leaf.payload)),
            _ => None,
        }
    }
    let (Some(emitter), Some((signed, payload)), Some((unsigned, own_payload))) = (emitter, leaf(recorded), leaf(computed)) else {
        return false;
    };
    let (Ok(signed), Ok(unsigned)) = (ParsedLeaf::parse(signed), ParsedLeaf::parse(unsigned)) else { return false };
    (Frame { payload: &[], ..*recorded }) == (Frame { payload: &[], ..*computed })
        && payload == own_payload
        && signed.event_hash == unsigned.event_hash
        && signed.signatures().all(|signature| emitter.verify(&signed.event_hash, &signature))
}

/// What differs: in the log, and computed again.
pub(crate) struct Differing {
    pub(crate) field: String,
    pub(crate) recorded: String,
    pub(crate) computed: String,
}

impl Differing {
    pub(crate) fn new(field: &str, recorded: impl Into<String>, computed: impl Into<String>) -> Differing {
        let shorten =
            |value: String| if value.chars().count() > 160 { value.chars().take(160).chain("...".chars()).collect() } else { value };
        Differing { field: field.into(), recorded: shorten(recorded.into()), computed: shorten(computed.into()) }
    }
}

pub(crate) fn describe(frame: &Frame<'_>) -> String {
    let kind = frame.kind().map_or("unknown", Kind::name);
    format!("{kind} of key {:?}", frame.key)
}

/// The first field in which two records differ, and its values.
pub(crate) fn first_difference(recorded: &Frame<'_>, computed: &Frame<'_>) -> Differing {
    let plain = [
        ("type", describe(recorded), describe(computed)),
        ("hops", recorded.hops.to_string(), computed.hops.to_string()),
        ("stream", recorded.stream.to_string(), computed.stream.to_string()),
        ("sequence", recorded.sequence.to_string(), computed.sequence.to_string()),
        ("headers", format!("{:?}", recorded.headers), format!("{:?}", computed.headers)),
        ("timestamp", recorded.time.to_string(), computed.time.to_string()),
    ];
    if let Some((field, recorded, computed)) = plain.into_iter().find(|(_, recorded, computed)| recorded != computed) {
        return Differing::new(field, recorded, computed);
    }
    let json = |frame: &Frame<'_>| frame.kind().and_then(|kind| merit_codec::to_json(kind.shape(), frame.payload));
    match (json(recorded), json(computed)) {
        (Some(recorded), Some(computed)) => differing("value", &recorded, &computed),
        (recorded, _) => Differing::new("value", if recorded.is_some() { "readable" } else { "unreadable" }, "readable"),
    }
}

fn differing(path: &str, recorded: &serde_json::Value, computed: &serde_json::Value) -> Differing {
    use serde_json::Value::{Array, Object};
    match (recorded, computed) {
        (Object(left), Object(right)) if !left.contains_key("hex") => {
            let field = left.iter().find(|(name, value)| right.get(*name) != Some(value));
            field
                .and_then(|(name, value)| Some((name, value, right.get(name)?)))
                .map(|(name, value, other)| differing(&format!("{path}.{name}"), value, other))
        }
        (Array(left), Array(right)) if left.len() == right.len() => {
            let item = left.iter().zip(right).position(|(left, right)| left != right);
            item.map(|at| differing(&format!("{path}[{at}]"), &left[at], &right[at]))
        }
        _ => None,
    }
    .unwrap_or_else(|| Differing::new(path, recorded.to_string(), computed.to_string()))
}

/// What a replay covered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Outside records before the base, which are not run again.
    pub before: u64,
    /// Outside records that were run again.
    pub inputs: u64,
    /// Records that were compared, inputs included.
    pub compared: u64,
    /// Records that follow from the last inputs of a log that was copied while it grew, and are not in it yet.
    pub lacking: u64,
    /// Records in such a log that follow from inputs behind its end, and were not compared.
    pub ahead: u64,
    /// Why new lineages began, and how much before each was not compared.
    pub gaps: Vec<Cause>,
}

/// Runs every outside record of a log again, in the order in which they were taken, and compares every record of every topic.
/// Without the key, signatures are verified instead of made.
///
/// A log of which something was pruned starts at its base. What differed before a new lineage is folded and not compared. Of a
/// log on Kafka each task is run alone, over the inputs that were recorded: the order in which topics were written is in them.
pub fn replay(
    store: &Arc<Store>,
    topology: &Topology,
    registered: &[Registered],
    signer: Option<&Signer>,
    mut progress: impl FnMut(u64),
) -> Result<Replayed, RuntimeError> {
    let layout = Arc::new(Layout::new(topology, registered));
    layout.check(store)?;
    if store.mirrored().is_some() {
        return replay_tasks(store, &layout, signer, progress);
    }
    let mut rerun = Rerun::new(store, &layout, signer)?;
    let before = rerun.outside;
    while rerun.step()? {
        if rerun.outside.is_multiple_of(10_000) {
            progress(rerun.outside - before);
        }
    }
    let inputs = rerun.outside - before - rerun.skipped;
    Ok(Replayed { before, inputs, compared: rerun.comparison.finish()?, gaps: rerun.passed, ..Replayed::default() })
}

/// A log on its way through the pipeline a second time, one outside record after the other.
pub(super) struct Rerun<'s> {
    pub(super) tasks: Vec<Task>,
    comparison: Comparison<'s>,
    inputs: OutsideRecords<'s>,
    signer: Option<&'s Signer>,
    /// Outside records before the next one.
    pub(super) outside: u64,
    /// The largest time of one of them.
    newest: EventTime,
    /// Those ahead, in order.
    gaps: VecDeque<Gap>,
    /// Those behind.
    passed: Vec<Cause>,
    /// Outside records in these.
    skipped: u64,
}

impl<'s> Rerun<'s> {
    /// Starts at the base, which is the beginning where nothing was pruned.
    pub(super) fn new(store: &'s Arc<Store>, layout: &Arc<Layout>, signer: Option<&'s Signer>) -> Result<Rerun<'s>, RuntimeError> {
        let base = log_at(store, layout, "base")?;
        let fresh = |task| Task::new(task, Arc::clone(layout), merit_codec::fingerprint);
        let mut tasks: Vec<Task> = (0..layout.tasks.len()).map(fresh).collect();
        let mut restored = tasks.iter_mut().enumerate();
        restored.try_for_each(|(at, task)| task.restore(&rows_of(store, layout, at, BASE))).map_err(|error| store.cause(error))?;
        let mut comparison = Comparison::new(store, layout, None, |partition| base.end(partition));
        comparison.configure(tasks[0].config());
        let inputs = OutsideRecords::new(store, layout, &base)?;
        let gaps = gaps(store, layout, &base)?.into();
        let (outside, newest) = (base.outside, base.newest);
        Ok(Rerun { tasks, comparison, inputs, signer, outside, newest, gaps, passed: Vec::new(), skipped: 0 })
    }

    /// Runs the next outside record and all that follows from it; whether there was one.
    pub(super) fn step(&mut self) -> Result<bool, RuntimeError> {
        self.run_next().map_err(|error| self.comparison.store.cause(error))
    }

    fn run_next(&mut self) -> Result<bool, RuntimeError> {
        if self.gaps.front().is_some_and(|gap| gap.base.outside == self.outside) {
            self.pass_gap()?;
        }
        let Rerun { tasks, comparison, signer, .. } = self;
        let Some((task, offset, frame)) = self.inputs.next()? else { return Ok(false) };
        let frame =
            Frame::decode(&frame).ok_or_else(|| RuntimeError::Store { attempt: "read", cause: "a record cannot be read".into() })?;
        if frame.kind() == Some(Kind::ConfigEpoch) {
            comparison.configure(frame.payload);
        }
        comparison.expect_outside(comparison.layout.tasks[task].input, &frame)?;
        step_frame(&mut tasks[task], offset, &frame, *signer, comparison)?;
        while let Some(queued) = comparison.queue.pop_front() {
            queued.run(tasks, *signer, comparison)?;
        }
        self.outside = frame.sequence + 1;
        self.newest = self.newest.max(frame.time);
        Ok(true)
    }

    /// Folds what the next gap holds, each task alone, and goes on behind it.
    fn pass_gap(&mut self) -> Result<(), RuntimeError> {
        let Some(gap) = self.gaps.pop_front() else { return Ok(()) };
        self.comparison.pass(&gap)?;
        let Comparison { store, layout, .. } = &self.comparison;
        for (task, at) in self.tasks.iter_mut().zip(&layout.tasks) {
            refold(store, &layout.partitions[at.input], task, gap.ends.end(at.input), None, &mut Unheard)?;
        }
        self.inputs = OutsideRecords::new(store, layout, &gap.ends)?;
        self.skipped += gap.ends.outside - gap.base.outside;
        (self.outside, self.newest) = (gap.ends.outside, gap.ends.newest);
        self.passed.push(gap.cause);
        Ok(())
    }

    /// Offset of the next record of a partition.
    pub(super) fn position(&self, partition: usize) -> u64 {
        self.comparison.cursors[partition].position()
    }

    /// Where the log ended here, as a commit writes it.
    pub(super) fn ends_row(&self) -> Vec<u8> {
        ends_row(&self.comparison.layout, self.outside, self.newest, |partition| self.position(partition))
    }
}

impl Comparison<'_> {
    /// Takes the key that a ConfigEpoch names.
    pub(super) fn configure(&mut self, epoch: &[u8]) {
        if let Some(epoch) = ConfigEpoch::decode(epoch) {
            self.emitter = EmitterKey::new(epoch.key_name, &epoch.emitter_key).ok();
        }
    }

    /// The next record of the partition must be this outside record: what was written before it has been computed.
    fn expect_outside(&mut self, partition: usize, frame: &Frame<'_>) -> Result<(), RuntimeError> {
        let difference = match self.cursors[partition].next()? {
            Some((_, next)) if next == *frame => None,
            Some((offset, next)) => Some((offset, next.stream, next.sequence, describe(&next))),
            None => Some((0, frame.stream, frame.sequence, "nothing more".into())),
        };
        self.compared += 1;
        match difference {
            None => Ok(()),
            Some((offset, stream, sequence, recorded)) => {
                Err(self.difference(partition, offset, (stream, sequence), Differing::new("record", recorded, "nothing")))
            }
        }
    }
}

/// The outside records of all input partitions in the order in which they were taken.
struct OutsideRecords<'s> {
    /// Task, its input, and the next outside record there.
    sources: Vec<(usize, Cursor<'s>, Option<OutsideRecord>)>,
}

/// Place among all outside records, offset and frame.
type OutsideRecord = (u64, u64, Vec<u8>);

impl<'s> OutsideRecords<'s> {
    fn new(store: &'s Store, layout: &Layout, from: &Log) -> Result<OutsideRecords<'s>, RuntimeError> {
        let tasks = layout.tasks.iter().enumerate();
        let mut sources: Vec<_> =
            tasks.map(|(task, at)| (task, store.read(&layout.partitions[at.input], from.end(at.input)), None)).collect();
        for (_, cursor, next) in &mut sources {
            *next = next_outside(cursor)?;
        }
        Ok(OutsideRecords { sources })
    }

    /// Task, offset and frame.
    fn next(&mut self) -> Result<Option<(usize, u64, Vec<u8>)>, RuntimeError> {
        let first = self.sources.iter_mut().filter(|(.., next)| next.is_some()).min_by_key(|(.., next)| next.as_ref().map(|next| next.0));
        let Some((task, cursor, next)) = first else { return Ok(None) };
        let taken = std::mem::replace(next, next_outside(cursor)?);
        Ok(taken.map(|(_, offset, frame)| (*task, offset, frame)))
    }
}

fn next_outside(cursor: &mut Cursor<'_>) -> Result<Option<OutsideRecord>, RuntimeError> {
    while let Some((offset, frame)) = cursor.next()? {
        if frame.is_outside() {
            let mut bytes = Vec::new();
            frame.put(&mut bytes);
            return Ok(Some((frame.sequence, offset, bytes)));
        }
    }
    Ok(None)
}
