//! One task: the processors of a sub-topology on one partition, in one chain, with their audit chain.

use crate::layout::{Layout, TaskLayout};
use crate::{RuntimeError, store};
use merit_audit::{Chain, ChainHead, Entry, Running, Signer, Source};
use merit_core::id::Hex;
use merit_core::processor::{Configuration, DynProcessor};
use merit_core::record::{AuditLeaf, ConfigEpoch, Kinds, SealedLeaf, SealedOutput, StreamSeal};
use merit_core::{Datum, Digest, EventTime, Fault, Head, Key, Kind, List, Payload, Record, Settings, Sink, Uuid, datum};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Inputs of a task between two of its `stream.seal` leaves, and event time between them, whichever is first.
const SEAL_INPUTS: u64 = 16_384;
const SEAL_TIME: i64 = 24 * 3_600_000;

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

/// Takes what tasks publish: the log, or a comparison with it.
pub trait Publisher {
    /// Takes one record.
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError>;
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
#[derive(Clone, Copy, Default)]
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
    lineage: String,
    epoch: u64,
    /// The encoding of the ConfigEpoch in force, to configure again after a restart.
    config: Vec<u8>,
    chain: Option<Chain>,
    inputs: Running,
    outputs: Vec<Output>,
    sealed: Sealed,
    newest: Option<EventTime>,
    decisions: Vec<Decision>,
    scratch: Vec<u8>,
}

/// The processors of a sub-topology on one partition.
pub struct Task {
    nodes: Vec<Node>,
    outside: Outside,
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
        let head = Head { key, time, stream: self.stream, sequence, offset: self.offset, hops: self.hops, digest: 0 };
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

    fn stream_name(&self, stream: u16) -> String {
        format!("{}/{}", self.task().stream_prefix(stream), self.lineage)
    }

    /// Lineages are equal in all tasks of one log: each begins with the same ConfigEpoch.
    fn id_of(&self, head: &Head<'_>) -> Option<Uuid> {
        let task = self.layout.task_of_stream(head.stream.into())?;
        Some(Uuid::of_record(&format!("{}/{}", task.stream_prefix(head.stream), self.lineage), head.sequence))
    }

    fn publish(&mut self, record: &Record<'_>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
        let kind = record.payload.kind();
        let layout = Arc::clone(&self.layout);
        let mut encoded = false;
        for (partition, feedback) in layout.routes(&layout.tasks[self.number], kind, &record.head.key) {
            if !encoded {
                self.scratch.clear();
                record.payload.put(&mut self.scratch);
                let node = record.head.stream - layout.tasks[self.number].first_stream;
                self.outputs[usize::from(node)].running.update(kind as u8, &self.scratch);
                encoded = true;
            }
            let head = Head { hops: record.head.hops + u8::from(feedback), ..record.head };
            publisher.publish(&Outgoing { partition, head, kind, payload: &self.scratch })?;
        }
        if Kind::DECISIONS.contains(kind) || IN_LEAF_ONLY.contains(kind) {
            self.decide(record);
        }
        Ok(())
    }

    #[cold]
    fn decide(&mut self, record: &Record<'_>) {
        let source = Source::Inner { stream: self.stream_name(record.head.stream).into(), sequence: record.head.sequence };
        let mut payload = Vec::new();
        record.payload.put(&mut payload);
        self.decisions.push(Decision {
            kind: record.payload.kind(),
            source,
            time: record.head.time,
            subject: record.head.key.name.into(),
            parents: record.payload.parents().iter().collect(),
            policy: record.payload.policy_id().map(Into::into),
            payload,
        });
    }

    /// Turns what was decided into leaves; the last one is signed and covers the others.
    fn leaves(&mut self, signer: Option<&Signer>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
        let decisions = std::mem::take(&mut self.decisions);
        let last = decisions.len().saturating_sub(1);
        for (place, decision) in decisions.iter().enumerate() {
            let entry = Entry {
                kind: decision.kind,
                source: decision.source.clone(),
                time: decision.time,
                actor: "merit",
                auth: "internal",
                subject: &decision.subject,
                parents: List::Slice(&decision.parents),
                epoch: self.epoch,
                policy: decision.policy.as_deref(),
                schema: (self.fingerprints)(decision.kind),
                payload: &decision.payload,
            };
            let chain = self.chain.as_mut().ok_or_else(|| Fault("a decision before any configuration".into()))?;
            let sequence = chain.head().sequence;
            let mut leaf = chain.append(&entry).map_err(|error| Fault(error.to_string()))?;
            if let Some(signer) = signer.filter(|_| place == last) {
                leaf.sign(signer);
            }
            let stream = chain.stream().to_owned();
            let payload = IN_LEAF_ONLY.contains(decision.kind).then_some(decision.payload.as_slice());
            self.publish_leaf(&stream, sequence, leaf.bytes(), payload, decision.time, publisher)?;
        }
        Ok(())
    }

    /// A leaf goes to the sealer; the sealer's own go straight into the log.
    fn publish_leaf(
        &mut self,
        stream: &str,
        sequence: u64,
        leaf: &[u8],
        payload: Option<&[u8]>,
        time: EventTime,
        publisher: &mut Stopping<'_>,
    ) -> Result<(), Fault> {
        let key = Key::new(stream);
        let head = Head { key, time, stream: self.task().audit_stream(), sequence, offset: 0, hops: 0, digest: 0 };
        let layout = Arc::clone(&self.layout);
        let task = &layout.tasks[self.number];
        let mut bytes = Vec::with_capacity(leaf.len() + 128);
        let is_sealer =
            layout.routes(task, Kind::AuditLeaf, &key).any(|(partition, _)| layout.partitions[partition].reader == Some(self.number));
        let kind = match is_sealer {
            false => {
                AuditLeaf { stream, sequence, leaf, payload }.put(&mut bytes);
                Kind::AuditLeaf
            }
            true => {
                SealedLeaf { leaf, payload }.put(&mut bytes);
                Kind::SealedLeaf
            }
        };
        for (partition, _) in layout.routes(task, kind, &key) {
            publisher.publish(&Outgoing { partition, head, kind, payload: &bytes })?;
        }
        Ok(())
    }

    fn configure(&mut self, epoch: &ConfigEpoch<'_>) -> Configuration {
        if self.chain.is_none() {
            let mut bytes = Vec::new();
            epoch.put(&mut bytes);
            self.lineage = Hex(&Sha256::digest(&bytes)).to_string();
            let task = self.task();
            self.chain = Some(Chain::new(epoch.origin, &format!("{}/{}/{}", task.name, task.partition, self.lineage)));
        }
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
        let outside = Outside {
            number,
            layout,
            fingerprints,
            lineage: String::new(),
            epoch: 0,
            config: Vec::new(),
            chain: None,
            inputs: Running::default(),
            outputs,
            sealed: Sealed::default(),
            newest: None,
            decisions: Vec::new(),
            scratch: Vec::new(),
        };
        Task { nodes, outside, position: 0 }
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
        let mut stopping = Stopping { publisher, stopped: None };
        self.run(record, bytes, signer, &mut stopping).map_err(|fault| {
            let stopped = RuntimeError::Stopped { task: self.name(), offset: record.head.offset, fault };
            stopping.stopped.unwrap_or(stopped)
        })
    }

    fn run(&mut self, record: &Record<'_>, bytes: &[u8], signer: Option<&Signer>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
        let kind = record.payload.kind();
        self.outside.inputs.update(kind as u8, bytes);
        self.position = record.head.offset + 1;
        self.outside.newest = self.outside.newest.max(Some(record.head.time));
        if let Payload::ConfigEpoch(epoch) = record.payload {
            self.begin_epoch(epoch, record, bytes)?;
        }
        deliver(&mut self.nodes, self.outside.task().first_stream, record, &mut self.outside, publisher)?;
        self.seal(record);
        if !self.outside.decisions.is_empty() {
            self.outside.leaves(signer, publisher)?;
        }
        Ok(())
    }

    fn begin_epoch(&mut self, epoch: &ConfigEpoch<'_>, record: &Record<'_>, bytes: &[u8]) -> Result<(), Fault> {
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

    /// Adds a `stream.seal` where one is due: by inputs or by their time, never by commit or clock.
    #[inline]
    fn seal(&mut self, record: &Record<'_>) {
        let Outside { sealed, newest, .. } = self.outside;
        let newest = newest.unwrap_or(record.head.time);
        let since = sealed.time.unwrap_or(newest);
        if sealed.time.is_none() {
            self.outside.sealed.time = Some(newest);
        }
        if self.position - sealed.offset >= SEAL_INPUTS || newest.0.saturating_sub(since.0) >= SEAL_TIME {
            self.make_seal(newest);
        }
    }

    #[cold]
    fn make_seal(&mut self, newest: EventTime) {
        let outside = &mut self.outside;
        let task = outside.layout.tasks[outside.number].clone();
        let names: Vec<String> = (0..self.nodes.len()).map(|at| outside.stream_name(task.first_stream + at as u16)).collect();
        let streams: Vec<SealedOutput<'_>> = names
            .iter()
            .zip(self.nodes.iter().zip(&outside.outputs))
            .map(|(stream, (node, output))| SealedOutput {
                stream,
                from_sequence: output.sealed,
                to_sequence: node.sequence,
                digest: output.running.0,
            })
            .collect();
        let seal = StreamSeal {
            topic: &outside.layout.partitions[task.input].name,
            partition: task.partition,
            from_offset: outside.sealed.offset,
            to_offset: self.position,
            inputs: outside.inputs.0,
            streams: List::Slice(&streams),
        };
        let mut payload = Vec::new();
        seal.put(&mut payload);
        let place = outside.decisions.len() as u64 + outside.chain.as_ref().map_or(0, |chain| chain.head().sequence);
        outside.decisions.push(Decision {
            kind: Kind::StreamSeal,
            source: Source::Inner { stream: outside.stream_name(task.audit_stream()).into(), sequence: place },
            time: newest,
            subject: task.name.clone(),
            parents: Vec::new(),
            policy: None,
            payload,
        });
        outside.sealed = Sealed { offset: self.position, time: Some(newest) };
        outside.outputs.iter_mut().zip(&self.nodes).for_each(|(output, node)| output.sealed = node.sequence);
    }
}

datum! {
    /// What a checkpoint keeps of a processor beside the rows of its stores.
    ProcessorRow {
        /// Next sequence.
        sequence: u64,
        /// Running digest of what it published.
        published: [u8; 32],
        /// Next sequence at the last seal.
        sealed: u64,
    }
}

datum! {
    /// What a checkpoint keeps of a task beside the rows of its stores.
    TaskRow<'a> {
        /// Offset of the next input.
        position: u64,
        /// One a processor, in order.
        processors: List<'a, ProcessorRow>,
        /// Hex of SHA-256 of the first ConfigEpoch.
        lineage: &'a str,
        /// Next sequence of the audit chain.
        chain_sequence: u64,
        /// Hash of its last leaf.
        chain_hash: [u8; 32],
        /// Running digest of inputs.
        inputs: [u8; 32],
        /// Behind the last sealed input.
        sealed_offset: u64,
        /// Record time at the last seal.
        sealed_time: Option<EventTime>,
        /// Largest record time so far.
        newest: Option<EventTime>,
        /// The ConfigEpoch in force.
        config: &'a [u8],
    }
}

/// Store name of a task's own row.
const TASK_STORE: &str = "";

impl Task {
    /// Writes every changed row.
    pub fn checkpoint(&mut self, put: &mut dyn FnMut(Vec<u8>, &[u8])) {
        let task = self.outside.task();
        let (name, partition) = (task.name.clone(), task.partition);
        for node in &mut self.nodes {
            node.processor.stores(&mut |rows| {
                let prefix = store::state_prefix(&name, partition, rows.name());
                rows.checkpoint(&mut |key, part, row| put(store::state_key(&prefix, key, part), row));
            });
        }
        let outside = &self.outside;
        let processors = self.nodes.iter().zip(&outside.outputs);
        let row =
            |(node, output): (&Node, &Output)| ProcessorRow { sequence: node.sequence, published: output.running.0, sealed: output.sealed };
        let processors: Vec<ProcessorRow> = processors.map(row).collect();
        let head = outside.chain.as_ref().map_or(ChainHead { sequence: 0, hash: [0; 32] }, Chain::head);
        let row = TaskRow {
            position: self.position,
            processors: List::Slice(&processors),
            lineage: &outside.lineage,
            chain_sequence: head.sequence,
            chain_hash: head.hash,
            inputs: outside.inputs.0,
            sealed_offset: outside.sealed.offset,
            sealed_time: outside.sealed.time,
            newest: outside.newest,
            config: &outside.config,
        };
        let mut bytes = Vec::new();
        row.put(&mut bytes);
        put(store::state_key(&store::state_prefix(&name, partition, TASK_STORE), "", 0), &bytes);
    }

    /// Takes back what the last checkpoint wrote.
    pub fn restore(&mut self, from: &store::Store) -> Result<(), RuntimeError> {
        let task = self.outside.task();
        let (name, partition, stopped) = (task.name.clone(), task.partition, self.name());
        let broken = |fault: Fault| RuntimeError::Stopped { task: stopped.clone(), offset: 0, fault };
        let mut own = None;
        from.state(&store::state_prefix(&name, partition, TASK_STORE), |key, _, row| {
            if key.is_empty() {
                own = Some(row.to_vec());
            }
            Ok(())
        })?;
        let Some(own) = own else { return Ok(()) };
        for node in &mut self.nodes {
            let mut failed = Ok(());
            node.processor.stores(&mut |rows| {
                let prefix = store::state_prefix(&name, partition, rows.name());
                let restored = from.state(&prefix, |key, part, row| rows.restore(key, part, row).map_err(&broken));
                rows.restored();
                if failed.is_ok() {
                    failed = restored;
                }
            });
            failed?;
        }
        let row = TaskRow::decode(&own).ok_or_else(|| broken(Fault("the task's own row cannot be read".into())))?;
        self.position = row.position;
        let outside = &mut self.outside;
        for ((node, output), row) in self.nodes.iter_mut().zip(&mut outside.outputs).zip(row.processors) {
            node.sequence = row.sequence;
            *output = Output { running: Running(row.published), sealed: row.sealed };
        }
        outside.lineage = row.lineage.into();
        outside.inputs = Running(row.inputs);
        outside.sealed = Sealed { offset: row.sealed_offset, time: row.sealed_time };
        outside.newest = row.newest;
        outside.config = row.config.to_vec();
        let epoch = ConfigEpoch::decode(row.config).ok_or_else(|| broken(Fault("the ConfigEpoch in force cannot be read".into())))?;
        let chain = format!("{name}/{partition}/{}", outside.lineage);
        let head = ChainHead { sequence: row.chain_sequence, hash: row.chain_hash };
        outside.chain = Some(Chain::resume(epoch.origin, &chain, head));
        let configuration = outside.configure(&epoch);
        self.nodes.iter_mut().try_for_each(|node| node.processor.configure(&configuration)).map_err(broken)
    }

    /// The encoding of the ConfigEpoch in force; empty before the first.
    pub fn config(&self) -> &[u8] {
        &self.outside.config
    }

    /// The lineage, once there is one.
    pub fn lineage(&self) -> &str {
        &self.outside.lineage
    }
}
