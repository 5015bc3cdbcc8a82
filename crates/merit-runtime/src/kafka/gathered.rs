//! Messages on their way into batches of the log.

use crate::RuntimeError;
use crate::embedded::{BATCH_BYTES, Batches, ends_row};
use crate::frame::Frame;
use crate::layout::Layout;
use crate::store::Store;
use merit_core::record::LogEnds;
use merit_core::{Datum, EventTime, List, datum};
use std::collections::BTreeMap;

/// The row of the meta family that says where each stream stands in each partition.
const SEQUENCES: &str = "sequences";

datum! {
    /// The last record of a stream in a partition.
    SequenceRow<'a> {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: u32,
        /// Number of the stream.
        stream: u32,
        /// Its sequence.
        sequence: u64,
    }
}

datum! {
    /// That row.
    SequencesRow<'a> {
        /// One each.
        last: List<'a, SequenceRow<'a>>,
    }
}

/// What is gathered of one partition.
#[derive(Default)]
struct Open {
    /// Offset to read on from.
    next: u64,
    /// Offset of the first record in `body`.
    base: u64,
    count: u32,
    body: Vec<u8>,
    /// Last sequence by stream.
    last: BTreeMap<u32, u64>,
}

/// Records that were read and wait for the next commit, and where the copy stands with them.
pub(super) struct Gathered {
    partitions: Vec<Open>,
    full: Batches,
    /// Bytes that wait.
    pub(super) bytes: usize,
    /// Records since the beginning.
    outside: u64,
    newest: EventTime,
}

impl Gathered {
    /// A copy that has not begun.
    pub(super) fn new(layout: &Layout) -> Gathered {
        let partitions = layout.partitions.iter().map(|_| Open::default()).collect();
        Gathered { partitions, full: Vec::new(), bytes: 0, outside: 0, newest: EventTime::MIN }
    }

    /// A copy that goes on where a directory ends.
    pub(super) fn behind(store: &Store, layout: &Layout) -> Result<Gathered, RuntimeError> {
        let mut gathered = Gathered::new(layout);
        let unreadable = || RuntimeError::Store { attempt: "read", cause: "the rows of the log's ends are none".into() };
        if let Some(bytes) = store.meta("ends")? {
            let row = LogEnds::decode(&bytes).ok_or_else(unreadable)?;
            (gathered.outside, gathered.newest) = (row.outside, row.newest);
            for end in row.ends.iter() {
                if let Some(at) = layout.find(end.topic, end.partition) {
                    gathered.partitions[at].next = end.end;
                }
            }
        }
        if let Some(bytes) = store.meta(SEQUENCES)? {
            for SequenceRow { topic, partition, stream, sequence } in SequencesRow::decode(&bytes).ok_or_else(unreadable)?.last.iter() {
                if let Some(at) = layout.find(topic, partition) {
                    gathered.partitions[at].last.insert(stream, sequence);
                }
            }
        }
        Ok(gathered)
    }

    /// Offset to read a partition on from.
    pub(super) fn next(&self, partition: usize) -> u64 {
        self.partitions[partition].next
    }

    /// Bytes that wait of a partition, in its open batch.
    pub(super) fn open_bytes(&self, partition: usize) -> usize {
        self.partitions[partition].body.len()
    }

    /// Whether that record of a stream is in the copy of a partition, or was pruned.
    pub(super) fn holds(&self, partition: usize, stream: u32, sequence: u64) -> bool {
        self.partitions[partition].last.get(&stream).is_some_and(|last| sequence <= *last)
    }

    /// Takes a message: a record, or none.
    pub(super) fn take(&mut self, partition: usize, offset: u64, frame: Option<&Frame<'_>>) {
        if let Some(frame) = frame {
            self.append(partition, offset, frame);
        }
        self.pass(partition, offset + 1);
    }

    /// Goes on from an offset before which nothing is left.
    pub(super) fn pass(&mut self, partition: usize, next: u64) {
        self.partitions[partition].next = next;
    }

    fn append(&mut self, partition: usize, offset: u64, frame: &Frame<'_>) {
        if frame.is_outside() {
            self.outside += 1;
            self.newest = self.newest.max(frame.time);
        } else {
            self.partitions[partition].last.insert(frame.stream, frame.sequence);
        }
        let open = &self.partitions[partition];
        if open.base + u64::from(open.count) != offset || open.body.len() >= BATCH_BYTES {
            self.cut(partition);
            self.partitions[partition].base = offset;
        }
        let open = &mut self.partitions[partition];
        let before = open.body.len();
        frame.put(&mut open.body);
        open.count += 1;
        self.bytes += open.body.len() - before;
    }

    fn cut(&mut self, partition: usize) {
        let Open { base, count, body, .. } = &mut self.partitions[partition];
        if *count > 0 {
            self.full.push((partition, *base, *count, std::mem::take(body)));
            (*base, *count) = (*base + u64::from(*count), 0);
        }
    }

    /// Everything that waits, in order of offset within a partition.
    pub(super) fn drain(&mut self) -> Batches {
        (0..self.partitions.len()).for_each(|partition| self.cut(partition));
        self.bytes = 0;
        std::mem::take(&mut self.full)
    }

    /// Rows of the meta family that say where the copy stands behind what was drained.
    pub(super) fn rows(&self, layout: &Layout) -> Vec<(String, Vec<u8>)> {
        let of_partition = |(at, open): (usize, &Open)| {
            let partition = &layout.partitions[at];
            let row = |(stream, sequence): (&u32, &u64)| SequenceRow {
                topic: &partition.name,
                partition: partition.partition,
                stream: *stream,
                sequence: *sequence,
            };
            open.last.iter().map(row).collect::<Vec<_>>()
        };
        let last: Vec<SequenceRow<'_>> = self.partitions.iter().enumerate().flat_map(of_partition).collect();
        let mut sequences = Vec::new();
        SequencesRow { last: List::Slice(&last) }.put(&mut sequences);
        let ends = ends_row(layout, self.outside, self.newest, |partition| self.next(partition));
        vec![("ends".into(), ends), (SEQUENCES.into(), sequences)]
    }
}
