//! Taking over a task: its last checkpoint, and its inputs since then folded again, against what the log holds of it.

use super::Setup;
use super::checkpoint::Last;
use super::cycle::{Copy, Place, Running, Sabotage, Stop, step};
use super::outputs::Outputs;
use super::step::Step;
use super::transport::{Disk, Rows, Transport};
use crate::embedded::{Differing, describe, first_difference};
use crate::error::Difference;
use crate::frame::Frame;
use crate::task::{Outgoing, Publisher, Task};
use crate::{LOGIC_VERSION, RuntimeError};
use merit_audit::{ChainHead, ParsedLeaf};
use merit_core::record::{AuditLeaf, SealedLeaf};
use merit_core::{Datum, Kind};
use std::collections::VecDeque;
use std::sync::Arc;

impl<T: Transport + 'static, D: Disk + 'static> Copy<T, D> {
    /// Restores a task and folds its inputs since the checkpoint again.
    pub(super) async fn take_over(&self, number: usize, since: u64) -> Result<Running, Stop> {
        let (input, failed) = (self.input(number), |error| Stop::Task(number, error));
        let committed = self.place.read(Step::ReadCommitted, |transport| transport.committed(input)).await?;
        self.restore(number).await?;
        let (mut task, rows, last) = self.stored(number, committed)?;
        if self.is_sabotaged(Sabotage::Position) {
            task.position = committed;
        }
        let mut refold = Refold::new(&self.setup, number, last, self.sabotage);
        refold.read_leaves(&self.place).await?;
        let mut unsaved = 0;
        let mut next = task.position;
        while next < committed {
            let mut ran = Ok(());
            let mut take = |offset, frame: Option<Frame<'_>>| {
                if ran.is_ok() && offset < committed {
                    ran = step(&self.setup, &mut task, offset, frame.as_ref(), &mut refold);
                    unsaved += 1;
                }
            };
            next = self.place.read(Step::ReadInputs, |transport| transport.read(input, next, committed, &mut take)).await?;
            ran.map_err(failed)?;
        }
        let (last, unsent) = refold.finish(&task).map_err(failed)?;
        Ok(Running { task, since, rows, last, unsaved, unsent })
    }

    /// A task as the disk holds it, rows that the next checkpoint has to write, and where the task's last records were. Refused where
    /// another version of the logic computed what is to be folded again.
    fn stored(&self, number: usize, committed: u64) -> Result<(Task, Rows, Last), Stop> {
        let disk = self.place.disk.borrow();
        let mut task = Task::new(number, Arc::clone(&self.setup.layout), merit_codec::fingerprint);
        if disk.row(number, &self.setup.task_key(number))?.is_none() {
            // What is left of a changelog without the task's own row belongs to nothing: the next checkpoint deletes it.
            let rows = disk.keys(number)?.into_iter().map(|key| (key, Vec::new())).collect();
            return Ok((task, rows, Last::default()));
        }
        task.restore(&disk.rows(number)).map_err(|error| Stop::Task(number, error))?;
        let last = disk.row(number, &self.setup.last_key(number))?.and_then(|row| Last::from_row(&row));
        let (logic_version, last) = last.unwrap_or_default();
        if logic_version != LOGIC_VERSION && task.position < committed {
            let error = RuntimeError::Upgrade { found: logic_version.to_string(), own: LOGIC_VERSION };
            return Err(Stop::Task(number, error));
        }
        Ok((task, Rows::new(), last))
    }
}

/// Takes the records of a refold: none is written, and each leaf must be the next of the task's chain in the log. A leaf signs for what
/// it decides, and a seal for every record of a stream: so what else was written is not read again.
struct Refold<'s> {
    setup: &'s Setup,
    task: usize,
    last: Last,
    /// Leaves behind the checkpoint: offset and frame.
    recorded: VecDeque<(u64, Vec<u8>)>,
    /// Where the log's chain stands behind that of its last leaf.
    head: Option<ChainHead>,
    unsent: Outputs,
    sabotage: Option<Sabotage>,
}

impl<'s> Refold<'s> {
    /// `last` is where the task's last leaf is, as of its checkpoint.
    fn new(setup: &'s Setup, task: usize, last: Last, sabotage: Option<Sabotage>) -> Refold<'s> {
        Refold { setup, task, last, recorded: VecDeque::new(), head: None, unsent: Outputs::default(), sabotage }
    }

    /// Reads that leaf and those behind the checkpoint, to the end of their partition: whatever was open before has ended by there.
    async fn read_leaves<T: Transport, D: Disk>(&mut self, place: &Place<T, D>) -> Result<(), Stop> {
        let (layout, partition) = (&self.setup.layout.tasks[self.task], self.setup.leaves[self.task]);
        let Last { leaf: before, next: behind } = self.last;
        let end = place.read(Step::ReadOutputs, |transport| transport.end_of(partition)).await?;
        let mut next = before.unwrap_or(behind);
        while next < end {
            let mut take = |offset, frame: Option<Frame<'_>>| {
                let Some(frame) = frame.filter(|frame| layout.is_audit(frame.stream)) else { return };
                (self.last.leaf, self.head) = (Some(offset), head_behind(&frame));
                if before != Some(offset) {
                    self.recorded.push_back((offset, bytes_of(&frame)));
                }
            };
            next = place.read(Step::ReadOutputs, |transport| transport.read(partition, next, end, &mut take)).await?.max(behind);
        }
        self.last.next = end.max(behind);
        Ok(())
    }

    /// Fails where the log holds more than was computed, or where the task's chain does not go on from the log's.
    fn finish(self, task: &Task) -> Result<(Last, Outputs), RuntimeError> {
        if self.sabotage != Some(Sabotage::Comparison) {
            if let Some((offset, message)) = self.recorded.front() {
                let found = Frame::decode(message);
                let (of, recorded) = found.map_or(((0, 0), String::new()), |frame| ((frame.stream, frame.sequence), describe(&frame)));
                let partition = self.setup.leaves[self.task];
                return Err(self.difference(partition, *offset, of, Differing::new("record", recorded, "nothing")));
            }
            let computed = task.chain_head().filter(|head| head.sequence > 0);
            let recorded = self.head;
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
            self.unsent.push(self.setup, self.task, record);
        }
        if !self.setup.layout.tasks[self.task].is_audit(computed.stream) {
            return Ok(());
        }
        let next = self.recorded.pop_front();
        let found = next.as_ref().and_then(|(_, message)| Frame::decode(message));
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

fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.put(&mut bytes);
    bytes
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
