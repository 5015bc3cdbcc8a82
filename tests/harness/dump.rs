//! Every record of a data directory.

use merit::registry::registered;
use merit_core::record::Headers;
use merit_core::{Datum, EventTime, Head, Kind};
use merit_runtime::frame::Frame;
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use merit_topology::Topology;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// One record with its place; all that the log holds of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its type.
    pub kind: Kind,
    /// How often what led here was fed back.
    pub hops: u32,
    /// Number of its stream.
    pub stream: u32,
    /// Its place in that stream.
    pub sequence: u64,
    /// Its timestamp.
    pub time: EventTime,
    /// Its key.
    pub key: String,
    /// Encoding of what travels beside it; empty where nothing does.
    pub headers: Vec<u8>,
    /// Its encoding.
    pub payload: Vec<u8>,
}

impl Entry {
    /// A record at its place.
    pub fn of(topic: &str, partition: u32, offset: u64, frame: &Frame<'_>) -> Entry {
        let mut headers = Vec::new();
        frame.headers.inspect(|value| value.put(&mut headers));
        Entry {
            topic: topic.into(),
            partition,
            offset,
            kind: frame.kind().expect("the log holds known types"),
            hops: frame.hops,
            stream: frame.stream,
            sequence: frame.sequence,
            time: frame.time,
            key: frame.key.into(),
            headers,
            payload: frame.payload.into(),
        }
    }

    /// Itself as the log stores it.
    pub fn frame(&self) -> Frame<'_> {
        let Entry { kind, hops, stream, sequence, time, key, headers, payload, .. } = self;
        let headers = Headers::decode(headers);
        Frame { kind: *kind as u32, hops: *hops, stream: *stream, sequence: *sequence, time: *time, key, headers, payload }
    }

    /// Whether a producer wrote it.
    pub fn is_outside(&self) -> bool {
        self.stream == u32::from(Head::OUTSIDE)
    }

    /// Its value for people.
    pub fn json(&self) -> Value {
        merit_codec::to_json(self.kind.shape(), &self.payload).expect("the log holds canonical records")
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { topic, partition, offset, kind, hops, stream, sequence, time, key, .. } = self;
        let time = if *time == EventTime::MIN { "none".into() } else { time.to_string() };
        write!(f, "{topic}/{partition}@{offset} {} key {key:?} time {time} stream {stream} sequence {sequence} hops {hops}", kind.name())?;
        write!(f, " {}", self.json())
    }
}

/// Every record of every topic, by topic in the order of the topology, partition and offset.
pub type Dump = Vec<Entry>;

/// A topology file, read.
pub fn topology(path: &Path) -> Topology {
    merit_topology::parse(&crate::text(path)).unwrap_or_else(|findings| panic!("{findings:?}"))
}

/// Reads everything.
pub fn dump(directory: &Path, topology: &Topology) -> Dump {
    dump_store(&Store::open_to_read(directory).unwrap_or_else(|error| panic!("{error}")), topology)
}

/// Reads everything that a view of a directory shows.
pub fn dump_store(store: &Store, topology: &Topology) -> Dump {
    let layout = Layout::new(topology, &registered());
    let mut dump = Vec::new();
    for partition in &layout.partitions {
        let mut records = store.records(partition);
        while let Some((offset, frame)) = records.next().unwrap_or_else(|error| panic!("{error}")) {
            dump.push(Entry::of(&partition.name, partition.partition, offset, &frame));
        }
    }
    dump
}

/// Records of one topic.
pub fn of_topic<'d>(dump: &'d [Entry], topic: &'d str) -> impl Iterator<Item = &'d Entry> {
    dump.iter().filter(move |entry| entry.topic == topic)
}

/// Compares two dumps and shows the first record in which they differ.
pub fn assert_equal(what: &str, expected: &[Entry], found: &[Entry]) {
    assert!(!expected.is_empty(), "{what}: nothing to compare");
    if let Some(at) = expected.iter().zip(found).position(|(left, right)| left != right) {
        panic!("{what}: the first difference is\nexpected {:?}\n   found {:?}", expected[at], found[at]);
    }
    let (left, right) = (expected.len(), found.len());
    assert_eq!(left, right, "{what}: one has more: {:?}", expected.get(right).or(found.get(left)));
}
