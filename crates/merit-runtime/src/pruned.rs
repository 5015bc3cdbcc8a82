//! What was pruned of a log, ever.

use merit_core::{Datum, List, datum};
use std::collections::BTreeMap;

datum! {
    /// What is left of one partition.
    PartitionStart<'a> {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: u32,
        /// Offset of the first record that is left.
        start: u64,
    }
}

datum! {
    /// What is left of one stream.
    StreamStart {
        /// Number of the stream.
        stream: u32,
        /// Behind the last sequence that is gone.
        start: u64,
    }
}

datum! {
    /// The meta row `pruned`.
    PrunedRow<'a> {
        /// Each partition that lost records.
        partitions: List<'a, PartitionStart<'a>>,
        /// Each stream that did.
        streams: List<'a, StreamStart>,
    }
}

/// Where partitions and streams begin that do not begin at 0 any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// First offset that is left, by topic and partition.
    pub partitions: BTreeMap<(String, u32), u64>,
    /// Behind the last sequence that is gone, by number of the stream; of what is before, other topics may still hold a part.
    pub streams: BTreeMap<u32, u64>,
}

impl Pruned {
    /// Whether a record of a stream may be gone.
    pub fn may_lack(&self, stream: u32, sequence: u64) -> bool {
        self.streams.get(&stream).is_some_and(|start| sequence < *start)
    }

    /// Reads the meta row; `None` where it is none.
    pub(crate) fn decode(row: &[u8]) -> Option<Pruned> {
        let row = PrunedRow::decode(row)?;
        let partitions = row.partitions.iter().map(|row| ((row.topic.to_owned(), row.partition), row.start));
        Some(Pruned { partitions: partitions.collect(), streams: row.streams.iter().map(|row| (row.stream, row.start)).collect() })
    }

    /// Gives the meta row.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let partitions = self.partitions.iter();
        let partitions: Vec<PartitionStart<'_>> =
            partitions.map(|((topic, partition), start)| PartitionStart { topic, partition: *partition, start: *start }).collect();
        let streams: Vec<StreamStart> = self.streams.iter().map(|(stream, start)| StreamStart { stream: *stream, start: *start }).collect();
        let mut bytes = Vec::new();
        PrunedRow { partitions: List::Slice(&partitions), streams: List::Slice(&streams) }.put(&mut bytes);
        bytes
    }
}
