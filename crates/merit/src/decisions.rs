//! Records by the stream that wrote them: what `audit verify` and `explain` have in common.

use merit_core::{EventTime, Kind, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::frame::Frame;
use merit_runtime::layout::{Layout, Partition, TaskLayout};
use merit_runtime::lineage::{Cause, Lineage, lineages};
use merit_runtime::store::{Cursor, Store};

/// The streams of one log; a stream's number is its place, those of the next lineage behind those of the one before.
pub(crate) struct Streams {
    pub(crate) lineages: Vec<Lineage>,
    names: Vec<String>,
}

impl Streams {
    /// The streams of a log.
    pub(crate) fn new(store: &Store, layout: &Layout) -> Result<Streams, RuntimeError> {
        let lineages = lineages(store, layout)?;
        let in_lineage = |Lineage { name, .. }: &Lineage| -> Vec<String> {
            let of_task =
                |task: &TaskLayout| (task.first_stream..=task.audit_stream()).map(|stream| task.stream_prefix(stream)).collect::<Vec<_>>();
            layout.tasks.iter().flat_map(of_task).map(|prefix| format!("{prefix}/{name}")).collect()
        };
        let names = lineages.iter().flat_map(in_lineage).collect();
        Ok(Streams { lineages, names })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Why the lineage of a chain began, where it is not the first.
    pub(crate) fn cause(&self, chain: &str) -> Option<&Cause> {
        self.lineages.iter().find(|lineage| chain.ends_with(&lineage.name))?.cause.as_ref()
    }

    /// Name of a stream.
    pub(crate) fn name(&self, stream: u32) -> &str {
        self.names.get(stream as usize).map_or("outside", String::as_str)
    }

    /// Number of a stream.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.names.iter().position(|known| known == name).map(|at| at as u32)
    }

    /// Stream and sequence of the record that an id names, whether or not there is one.
    pub(crate) fn find(&self, id: Uuid) -> Option<(u32, u64)> {
        let sequence = id.sequence();
        let at = self.names.iter().position(|name| Uuid::of_record(name, sequence) == id)?;
        Some((at as u32, sequence))
    }

    /// The id of a record.
    pub(crate) fn id(&self, partition: &Partition, offset: u64, frame: &Frame<'_>) -> Uuid {
        match frame.is_outside() {
            true => Uuid::of_record(&format!("{}/{}", partition.name, partition.partition), offset),
            false => Uuid::of_record(self.name(frame.stream), frame.sequence),
        }
    }
}

/// A record read from the log, to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Number of its partition.
    pub(crate) partition: usize,
    pub(crate) offset: u64,
    pub(crate) kind: Kind,
    pub(crate) stream: u32,
    pub(crate) sequence: u64,
    pub(crate) time: EventTime,
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
}

impl Record {
    /// Copies a frame; an unknown type is a corrupt log.
    pub(crate) fn of(layout: &Layout, partition: usize, offset: u64, frame: &Frame<'_>) -> Result<Record, RuntimeError> {
        let kind = kind_of(&layout.partitions[partition], offset, frame)?;
        let Frame { stream, sequence, time, key, payload, .. } = *frame;
        Ok(Record { partition, offset, kind, stream, sequence, time, key: key.into(), payload: payload.into() })
    }

    /// Whether two are one record in two partitions.
    fn is_copy_of(&self, other: &Record) -> bool {
        (self.kind, self.time, &self.key, &self.payload) == (other.kind, other.time, &other.key, &other.payload)
    }
}

/// The type of a frame.
pub(crate) fn kind_of(partition: &Partition, offset: u64, frame: &Frame<'_>) -> Result<Kind, RuntimeError> {
    frame.kind().ok_or_else(|| corrupt(partition, offset, format!("there is no record type {}", frame.kind)))
}

/// A log that cannot be what Merit wrote.
pub(crate) fn corrupt(partition: &Partition, offset: u64, cause: impl Into<String>) -> RuntimeError {
    RuntimeError::Corrupt { topic: partition.name.clone(), partition: partition.partition, offset, cause: cause.into() }
}

/// What one stream published, in the order of its sequence, each record once however many partitions hold it.
///
/// It keeps one record a partition.
pub(crate) struct Published<'s> {
    layout: &'s Layout,
    stream: u32,
    sources: Vec<Source<'s>>,
}

struct Source<'s> {
    partition: usize,
    cursor: Cursor<'s>,
    head: Option<Record>,
}

impl<'s> Published<'s> {
    /// Reads a stream from the partitions that hold records of it.
    pub(crate) fn new(store: &'s Store, layout: &'s Layout, stream: u32, partitions: &[usize]) -> Result<Published<'s>, RuntimeError> {
        let source = |&partition: &usize| Source { partition, cursor: store.records(&layout.partitions[partition]), head: None };
        let mut published = Published { layout, stream, sources: partitions.iter().map(source).collect() };
        published.sources.iter_mut().try_for_each(|source| source.load(layout, stream, None))?;
        Ok(published)
    }

    /// The record that is due.
    pub(crate) fn peek(&self) -> Option<&Record> {
        self.sources.iter().filter_map(|source| source.head.as_ref()).min_by_key(|head| head.sequence)
    }

    /// Takes the record that is due; its copies must be equal.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, RuntimeError> {
        let Some(sequence) = self.peek().map(|record| record.sequence) else { return Ok(None) };
        let mut taken: Option<Record> = None;
        for source in &mut self.sources {
            let Some(head) = source.head.take_if(|head| head.sequence == sequence) else { continue };
            source.load(self.layout, self.stream, Some(sequence))?;
            match &taken {
                None => taken = Some(head),
                Some(first) if first.is_copy_of(&head) => {}
                Some(_) => {
                    let partition = &self.layout.partitions[head.partition];
                    return Err(corrupt(partition, head.offset, "the record differs from its copy in another partition"));
                }
            }
        }
        Ok(taken)
    }
}

impl Source<'_> {
    /// Goes on to the next record of the stream, behind sequence `after`.
    fn load(&mut self, layout: &Layout, stream: u32, after: Option<u64>) -> Result<(), RuntimeError> {
        self.head = None;
        while let Some((offset, frame)) = self.cursor.next()? {
            if frame.stream == stream {
                if after.is_some_and(|after| frame.sequence <= after) {
                    return Err(corrupt(&layout.partitions[self.partition], offset, "the record is out of the order of its stream"));
                }
                self.head = Some(Record::of(layout, self.partition, offset, &frame)?);
                break;
            }
        }
        Ok(())
    }
}
