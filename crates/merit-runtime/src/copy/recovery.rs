//! Inputs folded again, against what the log holds of them.

use super::Setup;
use super::checkpoint::Last;
use super::cycle::Sabotage;
use super::outputs::Outputs;
use crate::RuntimeError;
use crate::embedded::{Differing, describe, first_difference};
use crate::error::Difference;
use crate::frame::Frame;
use crate::task::{Outgoing, Publisher, Task};
use merit_audit::{ChainHead, ParsedLeaf};
use merit_core::record::{AuditLeaf, SealedLeaf};
use merit_core::{Datum, Kind};
use std::collections::VecDeque;
use std::ops::Range;

/// Takes the records of a refold: none is written, and each leaf must be the next of the task's chain in the log. A leaf signs for what
/// it decides, and a seal for every record of a stream: so what else was written is not read again.
pub(super) struct Refold<'s> {
    setup: &'s Setup,
    task: usize,
    /// Where its last leaf was as of its checkpoint, and where it is.
    checkpoint: Last,
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
    pub(super) fn new(setup: &'s Setup, task: usize, last: Last, sabotage: Option<Sabotage>) -> Refold<'s> {
        Refold { setup, task, checkpoint: last, last, recorded: VecDeque::new(), head: None, unsent: Outputs::default(), sabotage }
    }

    /// Where that leaf is, and those behind the checkpoint.
    pub(super) fn spans(&self, end: u64) -> [Range<u64>; 2] {
        let Last { leaf, next } = self.checkpoint;
        [leaf.map_or(0..0, |leaf| leaf..leaf + 1), next..end]
    }

    /// Takes a leaf of the partition, whosever it is.
    pub(super) fn take(&mut self, offset: u64, frame: &Frame<'_>) {
        let Last { leaf, next } = self.checkpoint;
        if self.setup.layout.tasks[self.task].is_audit(frame.stream) && (leaf == Some(offset) || offset >= next) {
            (self.last.leaf, self.head) = (Some(offset), head_behind(frame));
            if leaf != Some(offset) {
                self.recorded.push_back((offset, bytes_of(frame)));
            }
        }
    }

    /// All leaves before that were given.
    pub(super) fn is_read_to(&mut self, end: u64) {
        self.last.next = end.max(self.checkpoint.next);
    }

    /// Fails where the log holds more than was computed, or where the task's chain does not go on from the log's.
    pub(super) fn finish(self, task: &Task) -> Result<(Last, Outputs), RuntimeError> {
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
