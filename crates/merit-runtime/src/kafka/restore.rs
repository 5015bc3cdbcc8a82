//! A log written into empty topics, each record at the offset that it has.
//!
//! Where the log has no record, a message with the header [`wire::GAP`] stands in its place. The brokers say which offset each
//! message got; another than is due ends the import.

use super::client::{Cluster, Role};
use super::error::{ClusterError, patiently};
use super::group::Group;
use super::reader::{LastError, Reader};
use super::topics::Topics;
use super::wire;
use crate::RuntimeError;
use crate::archive::{self, Row};
use crate::frame::{self, Frame};
use crate::layout::Layout;
use crate::processed::Processed;
use crate::pruned::Pruned;
use crate::store::{Mirrored, Store, batch_of_key};
use merit_core::Datum;
use merit_core::record::LogEnds;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Messages under way at most.
const UNDER_WAY: i32 = 20_000;

/// Between two looks at messages under way.
const PAUSE: Duration = Duration::from_micros(200);

/// A log that is imported.
pub enum Log<'l> {
    /// That of a directory.
    Directory(&'l Store),
    /// That of a file.
    File(&'l Path),
}

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Records.
    pub records: u64,
    /// Offsets without one.
    pub gaps: u64,
    /// Whether the group was told to go on behind the inputs that were processed; it is not where that is not known.
    pub goes_on: bool,
}

/// Writes a log into the topics of a cluster, which are there and empty. `progress` is told how many records were handed over.
pub fn import(
    log: &Log<'_>,
    cluster: &Cluster,
    layout: &Layout,
    topics: &Arc<Topics>,
    mut progress: impl FnMut(u64),
) -> Result<Restored, RuntimeError> {
    let processed = log.processed(layout)?;
    let reader = Reader::new(cluster, topics, &LastError::default())?;
    for at in 0..topics.logs() {
        if patiently(|| reader.end(at))? > 0 {
            let (topic, partition) = topics.place(at);
            return Err(ClusterError::TopicNotEmpty { topic: topic.into(), partition }.into());
        }
    }
    let mut writing = Writing::new(cluster, topics)?;
    log.each(|(family, key, value)| {
        if family == "log" {
            let (topic, partition, base) = batch_of_key(key).ok_or_else(|| unreadable("the key of a batch"))?;
            let at = layout.find(topic, partition).ok_or_else(|| unknown(topic, partition))?;
            writing.batch(at, base, value)?;
            progress(writing.restored.records);
        }
        Ok(())
    })?;
    let mut restored = writing.finish()?;
    if let Some(processed) = processed {
        Group::new(cluster, topics)?.say(&processed)?;
        restored.goes_on = true;
    }
    Ok(restored)
}

fn unreadable(what: &str) -> RuntimeError {
    RuntimeError::Store { attempt: "read", cause: format!("{what} is none") }
}

fn unknown(topic: &str, partition: u32) -> RuntimeError {
    RuntimeError::Topology { detail: format!("the log has {topic}/{partition}, the topology none") }
}

impl Log<'_> {
    fn each(&self, mut each: impl FnMut(Row<'_>) -> Result<(), RuntimeError>) -> Result<(), RuntimeError> {
        match self {
            Log::Directory(store) => store.each_kept_row(|family, key, value| each((family, key, value))),
            Log::File(path) => archive::read(path, each),
        }
    }

    /// Looks at the whole of it, and gives the offset behind the last input that was processed, by input; none where some may be
    /// processed that are behind that. Refused where it is not whole, or of another layout.
    fn processed(&self, layout: &Layout) -> Result<Option<Vec<(usize, u64)>>, RuntimeError> {
        let mut meta = BTreeMap::new();
        self.each(|(family, key, value)| {
            match (family, batch_of_key(key)) {
                ("meta", _) => drop(meta.insert(key.to_vec(), value.to_vec())),
                ("log", Some((topic, partition, _))) if layout.find(topic, partition).is_none() => return Err(unknown(topic, partition)),
                _ => {}
            }
            Ok(())
        })?;
        let row = |name: &str| meta.get(name.as_bytes()).map(Vec::as_slice);
        layout.compare(row("layout"))?;
        let pruned = row("pruned").map(|row| Pruned::decode(row).ok_or_else(|| unreadable("the row of what was pruned"))).transpose()?;
        if let Some(((topic, partition), start)) = pruned.as_ref().and_then(|pruned| pruned.partitions.first_key_value()) {
            return Err(RuntimeError::Pruned { topic: topic.clone(), partition: *partition, offset: 0, start: *start });
        }
        let inputs = layout.tasks.iter().map(|task| task.input);
        if Mirrored::decode(row(Mirrored::ROW))?.is_some() {
            let spans = Processed::decode(row(Processed::ROW), layout)?.0;
            let all = inputs.zip(spans).map(|(input, span)| Some((input, span.from.filter(|from| span.to == Some(*from))?)));
            return Ok(all.collect());
        }
        // A log that is written in a directory holds no input that was not processed.
        let Some(ends) = row("ends") else { return Ok(None) };
        let ends = LogEnds::decode(ends).ok_or_else(|| unreadable("the row of the log's ends"))?;
        let at = |input: usize| ends.ends.iter().find(|end| layout.find(end.topic, end.partition) == Some(input)).map_or(0, |end| end.end);
        Ok(Some(inputs.map(|input| (input, at(input))).collect()))
    }
}

/// What the brokers say of messages.
struct Deliveries {
    /// What went wrong first.
    fault: Mutex<Option<ClusterError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// The offset that is due.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        let fault = match result {
            Ok(message) if message.offset() == due as i64 => return,
            Ok(message) => ClusterError::OffsetDiffers {
                topic: message.topic().into(),
                partition: message.partition(),
                found: message.offset().max(0) as u64,
                due: due as u64,
            },
            Err((error, message)) => ClusterError::call_on("write a record", message.topic())(error.clone()),
        };
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }
}

/// Topics that are filled.
struct Writing {
    producer: BaseProducer<Deliveries>,
    topics: Arc<Topics>,
    writer: wire::Writer,
    /// Offset of the next message by partition.
    next: Vec<u64>,
    restored: Restored,
}

impl Writing {
    fn new(cluster: &Cluster, topics: &Arc<Topics>) -> Result<Writing, ClusterError> {
        let context = Deliveries { fault: Mutex::default() };
        let producer = cluster.config(Role::Restore).create_with_context(context).map_err(ClusterError::call("make a producer"))?;
        let next = vec![0; topics.logs()];
        Ok(Writing { producer, topics: Arc::clone(topics), writer: wire::Writer::default(), next, restored: Restored::default() })
    }

    /// Hands a batch over, and messages for the offsets that are missing before it.
    fn batch(&mut self, at: usize, base: u64, value: &[u8]) -> Result<(), RuntimeError> {
        let (topic, partition) = self.topics.place(at);
        let corrupt =
            |cause: &str| RuntimeError::Corrupt { topic: topic.into(), partition: partition as u32, offset: base, cause: cause.into() };
        let (count, body) = frame::unpack(value).ok_or_else(|| corrupt("the batch is torn or of an unknown version"))?;
        if base < self.next[at] {
            return Err(corrupt("the batch holds offsets of another"));
        }
        let frames: Option<Vec<Frame<'_>>> = frame::frames(&body).collect();
        let frames = frames.filter(|frames| frames.len() == count as usize);
        for frame in frames.ok_or_else(|| corrupt("a record is not in its canonical form"))? {
            let time = wire::timestamp(frame.time);
            while self.next[at] < base {
                let headers = OwnedHeaders::new_with_capacity(1).insert(Header { key: wire::GAP, value: None::<&[u8]> });
                self.send(at, BaseRecord::with_opaque_to("", 0).headers(headers).timestamp(time))?;
                self.restored.gaps += 1;
            }
            let mut writer = std::mem::take(&mut self.writer);
            let (value, headers) = writer.write(&frame, self.topics.schema(at, frame.kind));
            let sent = self.send(at, BaseRecord::with_opaque_to("", 0).key(frame.key).payload(value).headers(headers).timestamp(time));
            self.writer = writer;
            sent?;
            self.restored.records += 1;
        }
        Ok(())
    }

    fn send(&mut self, at: usize, record: BaseRecord<'_, str, [u8], usize>) -> Result<(), ClusterError> {
        let (topic, partition) = self.topics.place(at);
        let mut record = record.topic(topic).partition(partition).delivery_opaque(self.next[at] as usize);
        loop {
            self.wait_for_less_than(UNDER_WAY)?;
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.serve()?;
                    std::thread::sleep(PAUSE);
                }
                Err((error, _)) => return Err(ClusterError::call("write a record")(error)),
            }
        }
        self.next[at] += 1;
        Ok(())
    }

    fn wait_for_less_than(&self, messages: i32) -> Result<(), ClusterError> {
        while self.producer.in_flight_count() >= messages {
            self.serve()?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Hears what became of messages; the first fault ends the import.
    fn serve(&self) -> Result<(), ClusterError> {
        self.producer.poll(Duration::ZERO);
        let fault = self.producer.context().fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault.map_or(Ok(()), Err)
    }

    fn finish(self) -> Result<Restored, ClusterError> {
        self.wait_for_less_than(1)?;
        // The last of them may have been heard behind the last look.
        self.serve()?;
        Ok(self.restored)
    }
}
