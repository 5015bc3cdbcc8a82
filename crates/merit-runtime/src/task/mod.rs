//! One task: the processors of a sub-topology on one partition, in one chain, with their audit chain.

mod answers;
mod leaves;
mod rows;

pub use answers::{Answered, AnsweredRecord, Outcome, repeated};
pub(crate) use rows::TaskRow;

pub(crate) use answers::AnswerCounts;
use answers::{Answers, Effect};

use crate::RuntimeError;
use crate::frame::Frame;
use crate::layout::{Layout, TaskLayout};
use merit_audit::{Chain, Running, Signer, Source};
use merit_core::id::Hex;
use merit_core::processor::{Configuration, Depth, DynProcessor, Sent};
use merit_core::recent::id_digest;
use merit_core::record::{ConfigEpoch, EvalReport, Headers, Kinds};
use merit_core::{Digest, EventTime, Fault, Head, Key, Kind, Payload, Record, Settings, Sink, Uuid};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Types that stand in no topic: the leaf carries them.
const IN_LEAF_ONLY: Kinds = Kinds::of(&[Kind::StreamSeal, Kind::StreamHeads, Kind::AuditIncident]);

/// A record on its way to a topic.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Number of the partition.
    pub partition: usize,
    /// Everything about it but its payload.
    pub head: Head<'a>,
    /// Its type.
    pub kind: Kind,
    /// Its encoding.
    pub payload: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// The record as a log stores it.
    #[inline]
    pub fn frame(&self) -> Frame<'a> {
        Frame {
            kind: self.kind as u32,
            hops: self.head.hops.into(),
            stream: self.head.stream.into(),
            sequence: self.head.sequence,
            time: self.head.time,
            key: self.head.key.name,
            headers: self.head.headers.copied(),
            payload: self.payload,
        }
    }
}

/// Takes what tasks publish: the log, or a comparison with it.
pub trait Publisher {
    /// Takes one record.
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError>;

    /// Takes the answer to a command; where nobody waits any more it goes nowhere.
    fn answer(&mut self, _: &Answered<'_>) {}
}

/// What an input is known by: reports are compared by content where their ids are equal, and nothing else is.
#[inline]
pub fn sent_of(kind: Kind, payload: &[u8]) -> Option<Sent> {
    let of_report = || Sent { id: EvalReport::id_of(payload).map(id_digest), content: xxhash_rust::xxh3::xxh3_64(payload) };
    (kind == Kind::EvalReport).then(of_report)
}

struct Node {
    processor: Box<dyn DynProcessor>,
    reads: Kinds,
    sequence: u64,
}

struct Decision {
    kind: Kind,
    source: Source<'static>,
    time: EventTime,
    subject: String,
    parents: Vec<Uuid>,
    policy: Option<String>,
    payload: Vec<u8>,
}

/// What one processor published.
#[derive(Clone, Default)]
struct Output {
    running: Running,
    /// Its next sequence at the last seal.
    sealed: u64,
}

#[derive(Clone, Copy, Default)]
struct Sealed {
    offset: u64,
    time: Option<EventTime>,
}

/// Everything of a task but its processors.
struct Outside {
    number: usize,
    layout: Arc<Layout>,
    fingerprints: fn(Kind) -> Digest,
    /// Every lineage of the log so far.
    lineages: Vec<String>,
    /// Number of the stream of the first processor, in the last of these.
    first_stream: u16,
    epoch: u64,
    /// The encoding of the ConfigEpoch in force, to configure again after a restart.
    config: Vec<u8>,
    chain: Option<Chain>,
    inputs: Running,
    outputs: Vec<Output>,
    sealed: Sealed,
    newest: Option<EventTime>,
    decisions: Vec<Decision>,
    /// What the input at work led to, where somebody asked.
    answer: Option<Vec<Effect>>,
    scratch: Vec<u8>,
}

/// The processors of a sub-topology on one partition.
pub struct Task {
    nodes: Vec<Node>,
    outside: Outside,
    answers: Answers,
    /// Offset of the next input.
    pub position: u64,
}

struct ChainSink<'c, 'p> {
    rest: &'c mut [Node],
    sequence: &'c mut u64,
    stream: u16,
    offset: u64,
    hops: u8,
    outside: &'c mut Outside,
    publisher: &'c mut Stopping<'p>,
}

/// A publisher that remembers why it stopped, since a processor only knows faults.
struct Stopping<'p> {
    publisher: &'p mut dyn Publisher,
    stopped: Option<RuntimeError>,
    /// What every record of this step carries.
    headers: Option<&'p Headers<'p>>,
}

impl Stopping<'_> {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), Fault> {
        self.publisher.publish(record).map_err(|error| {
            let fault = Fault(error.to_string());
            self.stopped = Some(error);
            fault
        })
    }
}

impl Sink for ChainSink<'_, '_> {
    fn emit(&mut self, key: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let sequence = *self.sequence;
        *self.sequence += 1;
        let head = Head {
            key,
            time,
            stream: self.stream,
            sequence,
            offset: self.offset,
            hops: self.hops,
            sent: None,
            headers: self.publisher.headers,
        };
        let record = Record { head, payload };
        self.outside.publish(&record, self.publisher)?;
        deliver(self.rest, self.stream + 1, &record, self.outside, self.publisher)?;
        Ok(sequence)
    }

    fn next_sequence(&self) -> u64 {
        *self.sequence
    }

    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record(&self.outside.stream_name(self.stream), sequence)
    }

    fn id_of(&self, head: &Head<'_>) -> Option<Uuid> {
        self.outside.id_of(head)
    }

    fn fingerprint(&self, kind: Kind) -> Digest {
        (self.outside.fingerprints)(kind)
    }
}

/// Hands a record to every processor from `nodes[0]` on that reads its type; `stream` is that of `nodes[0]`.
fn deliver(
    nodes: &mut [Node],
    mut stream: u16,
    record: &Record<'_>,
    outside: &mut Outside,
    publisher: &mut Stopping<'_>,
) -> Result<(), Fault> {
    let kind = record.payload.kind();
    let mut rest = nodes;
    while let Some((node, behind)) = rest.split_first_mut() {
        if node.reads.contains(kind) {
            let Head { offset, hops, .. } = record.head;
            let sink = ChainSink { rest: behind, sequence: &mut node.sequence, stream, offset, hops, outside, publisher };
            node.processor.step(record, &mut { sink })?;
        }
        rest = behind;
        stream += 1;
    }
    Ok(())
}

impl Outside {
    fn task(&self) -> &TaskLayout {
        &self.layout.tasks[self.number]
    }

    /// The name of a stream of this task, in the lineage that its number says.
    fn stream_name(&self, stream: u16) -> String {
        let task = self.task();
        let lineage = self.lineages.get(usize::from(stream / task.streams)).map_or("", String::as_str);
        format!("{}/{lineage}", task.stream_prefix(stream))
    }

    /// Number of the stream of the audit chain.
    fn audit_stream(&self) -> u16 {
        self.first_stream + self.outputs.len() as u16
    }

    /// Lineages are equal in all tasks of one log: each begins with the same ConfigEpoch.
    fn id_of(&self, head: &Head<'_>) -> Option<Uuid> {
        self.layout.stream_name(head.stream, &self.lineages).map(|stream| Uuid::of_record(&stream, head.sequence))
    }

    #[inline]
    fn publish(&mut self, record: &Record<'_>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
        let kind = record.payload.kind();
        let Outside { layout, outputs, scratch, number, first_stream, .. } = self;
        let task = &layout.tasks[*number];
        let mut encoded = false;
        for (partition, feedback) in layout.routes(task, kind, &record.head.key) {
            if !encoded {
                scratch.clear();
                record.payload.put(scratch);
                outputs[usize::from(record.head.stream - *first_stream)].running.update(kind as u8, scratch);
                encoded = true;
            }
            let head = Head { hops: record.head.hops + u8::from(feedback), ..record.head };
            publisher.publish(&Outgoing { partition, head, kind, payload: scratch })?;
        }
        if Kind::DECISIONS.contains(kind) || IN_LEAF_ONLY.contains(kind) {
            self.decide(record);
        }
        if self.answer.is_some() {
            self.note(record);
        }
        Ok(())
    }

    /// The name of the audit chain.
    fn chain_name(&self) -> String {
        let TaskLayout { name, partition, .. } = self.task();
        format!("{name}/{partition}/{}", self.lineages.last().map_or("", String::as_str))
    }

    /// Goes by another list of lineages, the last of which is in force.
    fn set_lineages(&mut self, lineages: Vec<String>) -> Result<(), Fault> {
        let first = self.task().first_stream_of(lineages.len().saturating_sub(1));
        self.first_stream = first.ok_or_else(|| Fault("no numbers are left for the streams of another lineage".into()))?;
        self.lineages = lineages;
        Ok(())
    }

    fn configure(&mut self, epoch: &ConfigEpoch<'_>) -> Configuration {
        self.epoch = epoch.number;
        Configuration {
            settings: settings_of(epoch),
            partition: self.task().partition,
            partitions: epoch.partitions,
            origin: epoch.origin.into(),
            emitter: (epoch.key_name.into(), epoch.emitter_key),
            epoch: epoch.number,
        }
    }
}

/// Who acted and how that is known: whoever sent a command; a report decides nothing by itself.
fn actor<'a>(record: &Record<'a>) -> (&'a str, &'a str) {
    match record.head.headers {
        Some(headers) if !headers.actor.is_empty() && record.payload.kind() != Kind::EvalReport => (headers.actor, headers.auth),
        _ => ("merit", "internal"),
    }
}

/// The parameters that a ConfigEpoch carries.
pub fn settings_of(epoch: &ConfigEpoch<'_>) -> Settings {
    epoch.parameters.iter().map(|parameter| (parameter.path.to_owned(), parameter.value.to_owned())).collect()
}

impl Task {
    /// A task that has seen nothing.
    pub fn new(number: usize, layout: Arc<Layout>, fingerprints: fn(Kind) -> Digest) -> Task {
        let nodes: Vec<Node> =
            layout.chain(number).into_iter().map(|processor| Node { reads: processor.reads(), processor, sequence: 0 }).collect();
        let outputs = vec![Output::default(); nodes.len()];
        let first_stream = layout.tasks[number].first_stream;
        let outside = Outside {
            number,
            layout,
            fingerprints,
            lineages: Vec::new(),
            first_stream,
            epoch: 0,
            config: Vec::new(),
            chain: None,
            inputs: Running::default(),
            outputs,
            sealed: Sealed::default(),
            newest: None,
            decisions: Vec::new(),
            answer: None,
            scratch: Vec::new(),
        };
        Task { nodes, outside, answers: Answers::default(), position: 0 }
    }

    /// Sub-topology and partition.
    pub fn name(&self) -> String {
        format!("{}/{}", self.outside.task().name, self.outside.task().partition)
    }

    /// Runs one input record through the chain. `bytes` is its payload's encoding.
    #[inline]
    pub fn step(
        &mut self,
        record: &Record<'_>,
        bytes: &[u8],
        signer: Option<&Signer>,
        publisher: &mut dyn Publisher,
    ) -> Result<(), RuntimeError> {
        let inherited = record.head.headers.and_then(Headers::inherited);
        let mut stopping = Stopping { publisher, stopped: None, headers: inherited.as_ref() };
        self.run(record, bytes, signer, &mut stopping).map_err(|fault| {
            let stopped = RuntimeError::Stopped { task: self.name(), offset: record.head.offset, fault };
            stopping.stopped.unwrap_or(stopped)
        })
    }

    /// See [`merit_core::Processor::warm`].
    #[inline]
    pub fn warm(&self, key: &Key<'_>, sent: Option<&Sent>, depth: Depth) {
        self.nodes.iter().for_each(|node| node.processor.warm(key, sent, depth));
    }

    fn run(&mut self, record: &Record<'_>, bytes: &[u8], signer: Option<&Signer>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
        let kind = record.payload.kind();
        self.position = record.head.offset + 1;
        self.outside.newest = self.outside.newest.max(Some(record.head.time));
        if let Payload::ConfigEpoch(epoch) = record.payload {
            self.begin_epoch(epoch, record, bytes)?;
        }
        self.outside.inputs.update(kind as u8, bytes);
        match record.head.headers {
            Some(headers) if headers.is_answered() => self.answer(record, headers, publisher)?,
            _ => self.deliver(record, publisher)?,
        }
        self.seal(record);
        if !self.outside.decisions.is_empty() {
            self.outside.leaves(actor(record), signer, publisher)?;
        }
        Ok(())
    }

    #[inline]
    fn deliver(&mut self, record: &Record<'_>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
        deliver(&mut self.nodes, self.outside.first_stream, record, &mut self.outside, publisher)
    }

    fn begin_epoch(&mut self, epoch: &ConfigEpoch<'_>, record: &Record<'_>, bytes: &[u8]) -> Result<(), Fault> {
        if self.outside.chain.is_none() || epoch.lineage.is_some() {
            self.begin_lineage(epoch.origin, record.head.offset, bytes)?;
        }
        let configuration = self.outside.configure(epoch);
        for node in &mut self.nodes {
            node.processor.configure(&configuration)?;
        }
        self.outside.config = bytes.to_vec();
        let task = self.outside.task();
        let topic = self.outside.layout.partitions[task.input].name.clone();
        let source = Source::Outside { topic: topic.into(), partition: task.partition, offset: record.head.offset };
        self.outside.decisions.push(Decision {
            kind: Kind::ConfigEpoch,
            source,
            time: record.head.time,
            subject: record.head.key.name.into(),
            parents: Vec::new(),
            policy: None,
            payload: bytes.to_vec(),
        });
        Ok(())
    }

    /// Begins every stream anew, and with them all that is said about them: a lineage is named by its first ConfigEpoch.
    fn begin_lineage(&mut self, origin: &str, offset: u64, epoch: &[u8]) -> Result<(), Fault> {
        let outside = &mut self.outside;
        let mut lineages = std::mem::take(&mut outside.lineages);
        lineages.push(Hex(&Sha256::digest(epoch)).to_string());
        outside.set_lineages(lineages)?;
        outside.chain = Some(Chain::new(origin, &outside.chain_name()));
        outside.inputs = Running::default();
        outside.outputs.fill(Output::default());
        outside.sealed = Sealed { offset, time: None };
        self.nodes.iter_mut().for_each(|node| node.sequence = 0);
        Ok(())
    }

    /// The encoding of the ConfigEpoch in force; empty before the first.
    pub fn config(&self) -> &[u8] {
        &self.outside.config
    }

    /// Whether a `stream.seal` covers a record that this task published, or none ever will since its lineage ended.
    pub fn is_sealed(&self, stream: u32, sequence: u64) -> bool {
        match stream.checked_sub(self.outside.first_stream.into()) {
            Some(node) => self.outside.outputs.get(node as usize).is_some_and(|output| sequence < output.sealed),
            None => true,
        }
    }

    /// Behind the last input that a `stream.seal` covers.
    pub fn sealed_inputs(&self) -> u64 {
        self.outside.sealed.offset
    }

    /// Every lineage so far; the last one is in force.
    pub fn lineages(&self) -> &[String] {
        &self.outside.lineages
    }
}
