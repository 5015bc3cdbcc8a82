//! Records that wait for the next commit, and those that wait for their task.

use super::Queued;
use crate::RuntimeError;
use crate::layout::Layout;
use crate::task::{Answered, Outgoing, Publisher};
use merit_core::record::{LogEnds, PartitionEnd};
use merit_core::{Datum, EventTime, List};
use std::collections::VecDeque;
use std::sync::Arc;

/// The largest batch; a record alone may be larger.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// Batches on their way to the store: partition number, base offset, records, body.
pub type Batches = Vec<(usize, u64, u32, Vec<u8>)>;

#[derive(Default)]
struct Pending {
    end: u64,
    count: u32,
    body: Vec<u8>,
}

/// The end of the log, in memory.
pub(super) struct Log {
    layout: Arc<Layout>,
    pending: Vec<Pending>,
    full: Batches,
    spare: Vec<Vec<u8>>,
    /// Answers to commands, for the next commit.
    pub(super) answers: Vec<Vec<u8>>,
    /// Records for tasks, in the order in which they were written.
    pub(super) queue: VecDeque<Queued>,
    /// Outside records so far.
    pub(super) outside: u64,
    /// Bytes that wait.
    pub(super) bytes: usize,
    /// The largest time of an outside record.
    pub(super) newest: EventTime,
}

impl Log {
    /// A log that ends where `at` says, or an empty one.
    pub(super) fn new(layout: &Arc<Layout>, at: Option<LogEnds<'_>>) -> Log {
        let mut pending: Vec<Pending> = layout.partitions.iter().map(|_| Pending::default()).collect();
        for PartitionEnd { topic, partition, end } in at.iter().flat_map(|at| at.ends.iter()) {
            if let Some(at) = layout.find(topic, partition) {
                pending[at].end = end;
            }
        }
        let (outside, newest) = at.map_or((0, EventTime::MIN), |at| (at.outside, at.newest));
        Log {
            layout: Arc::clone(layout),
            pending,
            full: Vec::new(),
            spare: Vec::new(),
            answers: Vec::new(),
            queue: VecDeque::new(),
            outside,
            bytes: 0,
            newest,
        }
    }

    /// Offset of the next record of a partition.
    pub(super) fn end(&self, partition: usize) -> u64 {
        self.pending[partition].end
    }

    /// Appends a record and gives its offset.
    #[inline]
    pub(super) fn append(&mut self, record: &Outgoing<'_>) -> u64 {
        let pending = &mut self.pending[record.partition];
        let before = pending.body.len();
        record.frame().put(&mut pending.body);
        self.bytes += pending.body.len() - before;
        if record.head.stream == merit_core::Head::OUTSIDE && record.head.time > self.newest {
            self.newest = record.head.time;
        }
        let offset = pending.end;
        pending.end += 1;
        pending.count += 1;
        if pending.body.len() >= BATCH_BYTES {
            self.cut(record.partition);
        }
        offset
    }

    fn cut(&mut self, partition: usize) {
        let pending = &mut self.pending[partition];
        let body = std::mem::replace(&mut pending.body, self.spare.pop().unwrap_or_default());
        let count = std::mem::take(&mut pending.count);
        self.full.push((partition, pending.end - u64::from(count), count, body));
    }

    /// Everything that waits, in order of offset within a partition.
    pub(super) fn drain(&mut self) -> Batches {
        for partition in 0..self.pending.len() {
            if self.pending[partition].count > 0 {
                self.cut(partition);
            }
        }
        self.bytes = 0;
        std::mem::take(&mut self.full)
    }

    /// Takes back buffers.
    pub(super) fn reuse(&mut self, spent: Batches) {
        self.spare.extend(spent.into_iter().map(|(.., mut body)| {
            body.clear();
            body
        }));
        self.spare.truncate(64);
    }

    /// Where the log ends, for the commit.
    pub(super) fn ends_row(&self, layout: &Layout) -> Vec<u8> {
        ends_row(layout, self.outside, self.newest, |partition| self.end(partition))
    }
}

/// The row of a log that ends there.
pub(crate) fn ends_row(layout: &Layout, outside: u64, newest: EventTime, end: impl Fn(usize) -> u64) -> Vec<u8> {
    let partitions = layout.partitions.iter().enumerate();
    let ends: Vec<PartitionEnd<'_>> =
        partitions.map(|(at, partition)| PartitionEnd { topic: &partition.name, partition: partition.partition, end: end(at) }).collect();
    let mut bytes = Vec::new();
    LogEnds { outside, newest, ends: List::Slice(&ends) }.put(&mut bytes);
    bytes
}

impl Publisher for Log {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError> {
        let offset = self.append(record);
        if let Some(task) = self.layout.partitions[record.partition].reader {
            self.queue.push_back(Queued::of(task, offset, record));
        }
        Ok(())
    }

    fn answer(&mut self, answered: &Answered<'_>) {
        let mut bytes = Vec::new();
        answered.put(&mut bytes);
        self.answers.push(bytes);
    }
}
