//! Taking over a task: its last checkpoint, and its inputs since then folded again, against what the log holds of it.

use super::broker::{Broker, Message};
use super::checkpoint::{Last, Rows};
use super::copy::{Copy, Output, Place, Running, Stop};
use super::step::Step;
use super::{Sabotage, Setup};
use crate::RuntimeError;
use crate::embedded::{Differing, describe, first_difference};
use crate::error::Difference;
use crate::frame::Frame;
use crate::task::{Outgoing, Publisher, Task};
use merit_audit::{ChainHead, ParsedLeaf};
use merit_core::record::{AuditLeaf, SealedLeaf};
use merit_core::{Datum, Kind};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

impl Copy {
    /// Restores a task and folds its inputs since the checkpoint again.
    pub(super) async fn take_over(&self, number: usize, since: u64) -> Result<Running, Stop> {
        let (input, failed) = (self.input(number), |error| Stop::Task(number, error));
        let committed = self.place.read(Step::ReadCommitted, |broker| broker.committed(input)).await?;
        let mut base = self.restore(number).await?;
        let mut rows = Rows::new();
        if !base.rows.contains_key(&self.setup.task_key(number)) {
            // What is left of a changelog without the task's own row belongs to nothing: the next checkpoint deletes it.
            rows = std::mem::take(&mut base.rows).into_keys().map(|key| (key, Vec::new())).collect();
        }
        let mut task = self.setup.task(number, &base.rows).map_err(failed)?;
        if self.is_sabotaged(Sabotage::Position) {
            task.position = committed;
        }
        let last = base.rows.get(&self.setup.last_key(number)).and_then(|row| Last::from_row(row)).unwrap_or_default();
        let mut refold = Refold::new(&self.setup, number, last, self.sabotage);
        refold.read_outputs(&self.place).await?;
        let mut unsaved = 0;
        while task.position < committed {
            let from = task.position;
            let (records, _) = self.place.read(Step::ReadInputs, |broker| broker.read(input, from, 32)).await?;
            let records = records.iter().filter(|(offset, _)| *offset < committed);
            for (offset, message) in records {
                self.setup.step(&mut task, *offset, message, &mut refold).map_err(failed)?;
                unsaved += 1;
            }
        }
        let (last, unsent) = refold.finish(&task).map_err(failed)?;
        Ok(Running { task, since, rows, last, unsaved, unsent })
    }
}

/// Takes the records of a refold: none is written, each must be the next that the log holds of its task in that partition.
struct Refold<'s> {
    setup: &'s Setup,
    task: usize,
    last: Last,
    /// Records behind the checkpoint, a partition.
    recorded: BTreeMap<usize, VecDeque<(u64, Rc<Message>)>>,
    /// The last leaf of the task's audit chain.
    leaf: Option<Rc<Message>>,
    unsent: Vec<Output>,
    sabotage: Option<Sabotage>,
}

impl<'s> Refold<'s> {
    /// `last` is where the task's last records are, as of its checkpoint.
    fn new(setup: &'s Setup, task: usize, last: Last, sabotage: Option<Sabotage>) -> Refold<'s> {
        Refold { setup, task, last, recorded: BTreeMap::new(), leaf: None, unsent: Vec::new(), sabotage }
    }

    /// Reads what the task wrote since then, to the end of every partition: whatever was open before has ended by there.
    async fn read_outputs(&mut self, place: &Place) -> Result<(), Stop> {
        let layout = &self.setup.layout.tasks[self.task];
        for partition in &self.setup.outputs[self.task] {
            let partition = *partition;
            let mut recorded = VecDeque::new();
            let end = place.read(Step::ReadOutputs, |broker| Ok(broker.end_of(partition))).await?;
            let mut next = self.last.records.get(&partition).map_or(0, |last| last + 1);
            while next < end {
                let from = next;
                let read = |broker: &mut Broker| broker.read(partition, from, 256);
                let (records, behind) = place.read(Step::ReadOutputs, read).await?;
                next = behind;
                for (offset, message) in records {
                    if let Some(frame) = Frame::decode(&message.value).filter(|frame| layout.owns(frame.stream)) {
                        self.last.note(partition, offset, frame.stream == u32::from(layout.audit_stream()));
                        recorded.push_back((offset, Rc::clone(&message)));
                    }
                }
            }
            self.recorded.insert(partition, recorded);
        }
        if let Some((partition, offset)) = self.last.leaf {
            let (records, _) = place.read(Step::ReadOutputs, |broker| Ok(broker.fetch(partition, offset, 1))).await?;
            self.leaf = records.into_iter().next().map(|(_, message)| message);
        }
        Ok(())
    }

    /// Fails where the log holds more than was computed, or where the task's chain does not go on from the log's.
    fn finish(self, task: &Task) -> Result<(Last, Vec<Output>), RuntimeError> {
        if self.sabotage != Some(Sabotage::Comparison) {
            for (partition, recorded) in &self.recorded {
                if let Some((offset, message)) = recorded.front() {
                    let found = Frame::decode(&message.value);
                    let (of, recorded) = found.map_or(((0, 0), String::new()), |frame| ((frame.stream, frame.sequence), describe(&frame)));
                    return Err(self.difference(*partition, *offset, of, Differing::new("record", recorded, "nothing")));
                }
            }
            let computed = task.chain_head().filter(|head| head.sequence > 0);
            let recorded = self.leaf.as_ref().and_then(|leaf| head_behind(&Frame::decode(&leaf.value)?));
            if computed != recorded {
                let layout = &self.setup.layout.tasks[self.task];
                let of = (layout.audit_stream().into(), computed.map_or(0, |head| head.sequence));
                let differing = Differing::new("chain", format!("{recorded:?}"), format!("{computed:?}"));
                return Err(self.difference(layout.input, task.position, of, differing));
            }
        }
        Ok((self.last, self.unsent))
    }

    /// `of` is a stream's number and a sequence in it.
    fn difference(&self, at: usize, offset: u64, of: (u32, u64), Differing { field, recorded, computed }: Differing) -> RuntimeError {
        let partition = &self.setup.layout.partitions[at];
        RuntimeError::Difference(Box::new(Difference {
            topic: partition.name.clone(),
            partition: partition.partition,
            offset,
            stream: self.setup.layout.tasks[self.task].stream_prefix(of.0 as u16),
            sequence: of.1,
            field,
            recorded,
            computed,
        }))
    }
}

impl Publisher for Refold<'_> {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError> {
        let computed = record.frame();
        if self.sabotage == Some(Sabotage::Suppression) {
            self.unsent.push(Output::new(self.setup, self.task, record));
        }
        let next = self.recorded.get_mut(&record.partition).and_then(VecDeque::pop_front);
        let found = next.as_ref().and_then(|(_, message)| Frame::decode(&message.value));
        if self.sabotage == Some(Sabotage::Comparison) || found == Some(computed) {
            return Ok(());
        }
        let offset = next.as_ref().map_or(0, |(offset, _)| *offset);
        let of = (computed.stream, computed.sequence);
        let missing = || Differing::new("record", "nothing more", describe(&computed));
        let differing = found.as_ref().map_or_else(missing, |found| first_difference(found, &computed));
        Err(self.difference(record.partition, offset, of, differing))
    }
}

/// Where a chain stands behind a leaf.
fn head_behind(frame: &Frame<'_>) -> Option<ChainHead> {
    let leaf = match frame.kind()? {
        Kind::AuditLeaf => AuditLeaf::decode(frame.payload)?.leaf,
        Kind::SealedLeaf => SealedLeaf::decode(frame.payload)?.leaf,
        _ => return None,
    };
    let leaf = ParsedLeaf::parse(leaf).ok()?;
    Some(ChainHead { sequence: leaf.envelope.sequence + 1, hash: leaf.event_hash })
}
