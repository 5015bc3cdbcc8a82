//! The audit log, leaf by leaf in its order, against the records that it speaks of.
//!
//! Everything is read forwards and once: the log of leaves leads, and what each stream published follows it, so that memory does
//! not grow with the log. [`rule`] and [`merit_audit::rule`] say what can be broken.

use super::reading::{Broken, Census, Genesis, Inputs, Outputs, fault};
use super::{keys, rule};
use crate::decisions::{Published, Record, Streams};
use merit_audit::{EmitterKey, Envelope, LogVerifier, Running, Source, leaf_type, payload_commit};
use merit_core::record::{AuditLeaf, Kinds, SealedLeaf, SealedOutput, StreamSeal};
use merit_core::{Code, Datum, EventTime, Kind, Payload, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::frame::Frame;
use merit_runtime::layout::{Layout, TaskLayout};
use merit_runtime::lineage::Lineage;
use merit_runtime::processed::{Processed, Span};
use merit_runtime::store::{Cursor, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

/// Types that only their leaf carries.
const IN_LEAF_ONLY: Kinds = Kinds::of(&[Kind::StreamSeal, Kind::StreamHeads, Kind::AuditIncident]);

/// What a log without fault holds.
pub(super) struct Verified {
    pub(super) origin: String,
    pub(super) lineages: Vec<Lineage>,
    /// The public key that the log names, as text.
    pub(super) emitter: String,
    /// Whether it was believed.
    pub(super) key_from_log: bool,
    pub(super) chains: usize,
    pub(super) signatures: u64,
    /// Leaves by record type.
    pub(super) leaves: BTreeMap<&'static str, u64>,
    pub(super) open: Open,
    /// The log that it is a copy of.
    pub(super) copy_of: Option<String>,
    /// Parents that have no leaf of their own and were found in topics.
    pub(super) parents: usize,
    pub(super) tasks: Vec<Covered>,
    pub(super) pruned: Pruned,
}

/// What is believed for the sake of the leaves' signatures alone, since the records are gone.
#[derive(Clone, Copy, Default)]
pub(super) struct Pruned {
    /// Leaves whose record is gone.
    pub(super) leaves: u64,
    /// Seals over records of which some are gone.
    pub(super) seals: u64,
    /// Parents that are gone.
    pub(super) parents: u64,
}

/// The end of a log that was copied while tasks were at work.
#[derive(Clone, Copy, Default)]
pub(super) struct Open {
    /// Leaves that the sealer had not read.
    pub(super) unsealed: u64,
    /// Of those and the sealer's own, leaves that no signature in the copy covers.
    pub(super) unsigned: u64,
    /// Leaves that the sealer had not read, whose record is not in the copy.
    pub(super) lacking: u64,
}

/// How much of what a task read and published its seals cover.
pub(super) struct Covered {
    pub(super) task: String,
    pub(super) seals: u64,
    pub(super) inputs: u64,
    pub(super) outputs: u64,
    pub(super) inputs_open: u64,
    pub(super) outputs_open: u64,
}

/// A fault of the leaf itself.
fn leaf_fault(index: u64, envelope: &Envelope<'_>, rule: &'static Code, detail: impl Into<String>) -> Broken {
    fault(&envelope.stream, envelope.sequence, index, rule, detail)
}

/// Verifies a log with these keys, or where there are none with the key that the log names.
pub(super) fn verify(store: &Store, layout: &Layout, keys: Vec<EmitterKey>, mut progress: impl FnMut(&str)) -> Result<Verified, Broken> {
    progress("reading every topic");
    let streams = Streams::new(store, layout)?;
    let census = Census::take(store, layout, streams.len())?;
    let genesis = Genesis::read(store, layout)?;
    let key_from_log = keys.is_empty();
    let keys = if key_from_log { vec![genesis.key()?] } else { keys };
    let audit = layout.find(AUDIT, 0).ok_or_else(|| fault(AUDIT, 0, 0, rule::ORIGIN, "the topology has no topic of that name"))?;
    let mut run = Verification::new(store, layout, streams, census, LogVerifier::new(&genesis.origin, keys))?;
    let mut leaves = store.records(&layout.partitions[audit]);
    let mut index = 0;
    while let Some((_, frame)) = leaves.next()? {
        run.leaf(index, &frame)?;
        if index % 1_024 == 0 {
            progress(&format!("{index} leaves verified"));
        }
        index += 1;
    }
    run.finish(genesis, key_from_log)
}

const AUDIT: &str = "audit";
const INTAKE: &str = "audit.intake";

struct Verification<'s> {
    store: &'s Store,
    layout: &'s Layout,
    streams: Streams,
    census: Census,
    verifier: LogVerifier,
    /// Task and number of the lineage by the name of a chain.
    chains: HashMap<String, (usize, usize)>,
    types: HashMap<String, Kind>,
    inputs: Vec<Inputs<'s>>,
    outputs: Vec<Outputs<'s>>,
    intake: Cursor<'s>,
    /// The task that reads the intake.
    sealer: Option<usize>,
    processed: Processed,
    open: Open,
    leaves: BTreeMap<&'static str, u64>,
    signatures: u64,
    pruned: Pruned,
}

impl<'s> Verification<'s> {
    fn new(
        store: &'s Store,
        layout: &'s Layout,
        streams: Streams,
        census: Census,
        verifier: LogVerifier,
    ) -> Result<Verification<'s>, Broken> {
        let in_lineage = |(lineage, Lineage { name, .. }): (usize, &Lineage)| -> Vec<_> {
            let chain = |(at, task): (usize, &TaskLayout)| (format!("{}/{}/{name}", task.name, task.partition), (at, lineage));
            layout.tasks.iter().enumerate().map(chain).collect()
        };
        let input = |task: &TaskLayout| Inputs {
            cursor: store.records(&layout.partitions[task.input]),
            running: Running::default(),
            to: 0,
            start: store.start(&layout.partitions[task.input]),
            seals: 0,
            covered: 0,
        };
        let output = |(stream, partitions): (usize, &BTreeSet<usize>)| {
            let partitions: Vec<usize> = partitions.iter().copied().collect();
            let published = Published::new(store, layout, stream as u32, &partitions)?;
            let start = store.pruned().streams.get(&(stream as u32)).copied().unwrap_or(0);
            let name = streams.name(stream as u32).into();
            Ok(Outputs { name, published, running: Running::default(), to: 0, start, covered: 0, open: 0 })
        };
        let intake = layout.find(INTAKE, 0).ok_or_else(|| fault(INTAKE, 0, 0, rule::ORIGIN, "the topology has no topic of that name"))?;
        Ok(Verification {
            sealer: layout.partitions[intake].reader,
            processed: Processed::of(store, layout)?,
            open: Open::default(),
            chains: streams.lineages.iter().enumerate().flat_map(in_lineage).collect(),
            types: Kind::ALL.iter().map(|kind| (leaf_type(*kind).to_string(), *kind)).collect(),
            inputs: layout.tasks.iter().map(input).collect(),
            outputs: census.partitions.iter().enumerate().map(output).collect::<Result<_, RuntimeError>>()?,
            intake: store.records(&layout.partitions[intake]),
            leaves: BTreeMap::new(),
            signatures: 0,
            pruned: Pruned::default(),
            store,
            layout,
            streams,
            census,
            verifier,
        })
    }

    fn leaf(&mut self, index: u64, frame: &Frame<'_>) -> Result<(), Broken> {
        let sealed = frame.kind().filter(|kind| *kind == Kind::SealedLeaf).and_then(|_| SealedLeaf::decode(frame.payload));
        let Some(sealed) = sealed else { return Err(fault(frame.key, 0, index, merit_audit::rule::SHAPE, "it is no SealedLeaf")) };
        let leaf = self.verifier.leaf(index, sealed.leaf, sealed.payload)?;
        self.signatures += leaf.signatures().len() as u64;
        let envelope = &leaf.envelope;
        if frame.key != envelope.stream {
            return Err(leaf_fault(index, envelope, rule::LABEL, "its record has another key than the name of its chain"));
        }
        let (of, kind) = self.place(index, envelope)?;
        *self.leaves.entry(kind.name()).or_default() += 1;
        self.check_intake(index, frame, &sealed, envelope)?;
        self.follow(index, envelope, of, kind, sealed.payload, false)
    }

    /// What is left for the sealer: leaves that it need not have read yet, verified as it will find them.
    ///
    /// A copy has a leaf for each decision in it, while the record of a leaf may lie behind the copy
    /// ([`Layout::in_order_of_proof`]).
    fn unsealed(&mut self, end: u64) -> Result<(), Broken> {
        let processed = self.sealer.and_then(|task| self.processed_by(task)).unwrap_or(u64::MAX);
        let owned = |(offset, left): (u64, AuditLeaf<'_>)| {
            (offset, left.stream.to_owned(), left.sequence, left.leaf.to_vec(), left.payload.map(<[u8]>::to_vec))
        };
        while let Some((offset, stream, sequence, leaf, payload)) = next_intake(&mut self.intake, |left| left.map(owned))? {
            let index = end + self.open.unsealed;
            if offset < processed {
                return Err(fault(&stream, sequence, end, rule::LEAF_MISSING, format!("a leaf of {INTAKE} is not in the audit log")));
            }
            let leaf = self.verifier.leaf(index, &leaf, payload.as_deref())?;
            self.signatures += leaf.signatures().len() as u64;
            if (&*leaf.envelope.stream, leaf.envelope.sequence) != (&*stream, sequence) {
                return Err(leaf_fault(index, &leaf.envelope, rule::INTAKE, format!("it stands under sequence {sequence} of {stream}")));
            }
            let (of, kind) = self.place(index, &leaf.envelope)?;
            self.follow(index, &leaf.envelope, of, kind, payload.as_deref(), true)?;
            self.open.unsealed += 1;
        }
        Ok(())
    }

    /// Task and lineage of a leaf's chain, and its type.
    fn place(&self, index: u64, envelope: &Envelope<'_>) -> Result<((usize, usize), Kind), Broken> {
        let refuse = |rule, detail: &str| Err(leaf_fault(index, envelope, rule, detail));
        let Some(&of) = self.chains.get(&*envelope.stream) else {
            return refuse(rule::CHAIN, "no task of this log has such a chain; a log is read with the topology that it was written with");
        };
        let Some(&kind) = self.types.get(&*envelope.leaf_type) else { return refuse(rule::TYPE, "it names no record type") };
        if envelope.schema != merit_codec::fingerprint(kind) {
            return refuse(rule::SCHEMA, "its schema is not the one that its type has");
        }
        Ok((of, kind))
    }

    /// What a leaf speaks of.
    fn follow(
        &mut self,
        index: u64,
        envelope: &Envelope<'_>,
        of: (usize, usize),
        kind: Kind,
        payload: Option<&[u8]>,
        is_open: bool,
    ) -> Result<(), Broken> {
        let refuse = |rule, detail: &str| Err(leaf_fault(index, envelope, rule, detail));
        match (IN_LEAF_ONLY.contains(kind), payload) {
            (true, Some(payload)) if kind == Kind::StreamSeal && !is_open => self.seal(index, envelope, of, payload),
            (true, Some(_)) => Ok(()),
            (true, None) => refuse(rule::RECORD_MISSING, "its payload should stand beside it"),
            (false, Some(_)) => refuse(rule::RECORD, "a payload stands beside it, and its record belongs in a topic"),
            (false, None) => self.record(index, envelope, of, kind, is_open),
        }
    }

    /// A leaf that another task wrote must be the next one that the sealer read.
    fn check_intake(&mut self, index: u64, frame: &Frame<'_>, sealed: &SealedLeaf<'_>, envelope: &Envelope<'_>) -> Result<(), Broken> {
        let is_chain = |task: &TaskLayout| frame.stream % u32::from(task.streams) == u32::from(task.audit_stream());
        let by_its_own_task = self.layout.task_of_stream(frame.stream).is_some_and(is_chain);
        if by_its_own_task {
            return Ok(());
        }
        let is_due = next_intake(&mut self.intake, |due| {
            due.is_some_and(|(_, due)| {
                (due.stream, due.sequence, due.leaf, due.payload) == (&*envelope.stream, envelope.sequence, sealed.leaf, sealed.payload)
            })
        })?;
        match is_due {
            true => Ok(()),
            false => Err(leaf_fault(index, envelope, rule::INTAKE, format!("the next leaf in {INTAKE} is another one"))),
        }
    }

    /// A decision against its record.
    fn record(
        &mut self,
        index: u64,
        envelope: &Envelope<'_>,
        (task, lineage): (usize, usize),
        kind: Kind,
        is_open: bool,
    ) -> Result<(), Broken> {
        let (record, may_lack) = match &envelope.source {
            Source::Outside { topic, partition, offset } => {
                let record = self.outside(task, topic, *partition, *offset)?;
                // The first leaf of a chain; the ConfigEpoch itself may have been pruned.
                if envelope.sequence == 0 {
                    self.inputs[task].begin(*offset);
                }
                (record, *offset < self.inputs[task].start)
            }
            Source::Inner { stream, sequence } => match self.streams.number(stream) {
                Some(stream) if self.streams_of(task, lineage).contains(&(stream as usize)) => {
                    let outputs = &mut self.outputs[stream as usize];
                    (outputs.find(index, *sequence)?, *sequence < outputs.start)
                }
                Some(_) | None => (None, false),
            },
        };
        if record.is_none() && may_lack {
            self.pruned.leaves += 1;
            return Ok(());
        }
        if record.is_none() && is_open {
            self.open.lacking += 1;
            return Ok(());
        }
        let Some(record) = record else {
            let detail = format!("no topic holds the {} at {}", kind.name(), envelope.source);
            return Err(leaf_fault(index, envelope, rule::RECORD_MISSING, detail));
        };
        compare(envelope, kind, &record).map_err(|(rule, detail)| leaf_fault(index, envelope, rule, detail))
    }

    /// The ConfigEpoch that a leaf names; only these get one where a producer wrote them.
    fn outside(&mut self, task: usize, topic: &str, partition: u32, offset: u64) -> Result<Option<Record>, RuntimeError> {
        let input = self.layout.tasks[task].input;
        if self.layout.find(topic, partition) != Some(input) || !self.census.epochs.remove(&(input, offset)) {
            return Ok(None);
        }
        let mut records = self.store.read(&self.layout.partitions[input], offset);
        records.next()?.map(|(offset, frame)| Record::of(self.layout, input, offset, &frame)).transpose()
    }

    fn seal(&mut self, index: u64, envelope: &Envelope<'_>, (task, lineage): (usize, usize), payload: &[u8]) -> Result<(), Broken> {
        let refuse = |rule, detail: String| Err(leaf_fault(index, envelope, rule, detail));
        let Some(seal) = StreamSeal::decode(payload) else { return refuse(rule::SEAL_RANGE, "it cannot be read".into()) };
        let layout = &self.layout.tasks[task];
        let input = &self.layout.partitions[layout.input];
        let streams = self.streams_of(task, lineage);
        let inputs = &mut self.inputs[task];
        if (seal.topic, seal.partition, seal.from_offset) != (&input.name, input.partition, inputs.to) {
            let due = format!("{}/{} from offset {}", input.name, input.partition, inputs.to);
            return refuse(
                rule::SEAL_RANGE,
                format!("it covers {}/{} from offset {}, due is {due}", seal.topic, seal.partition, seal.from_offset),
            );
        }
        let outputs = &mut self.outputs[streams];
        let lacks = seal.from_offset < inputs.start
            || outputs.iter().zip(seal.streams).any(|(outputs, sealed)| sealed.from_sequence < outputs.start);
        self.pruned.seals += u64::from(lacks);
        if seal.from_offset < inputs.start {
            inputs.believe(&seal);
        } else if !inputs.cover(&seal)? {
            let range = format!("{}/{} from offset {} to before {}", seal.topic, seal.partition, seal.from_offset, seal.to_offset);
            return refuse(rule::SEAL_INPUTS, format!("{range} does not hold what was read"));
        }
        if seal.streams.len() != outputs.len() {
            return refuse(rule::SEAL_RANGE, format!("it covers {} streams of {}", seal.streams.len(), outputs.len()));
        }
        outputs.iter_mut().zip(seal.streams).try_for_each(|(outputs, sealed)| cover(index, envelope, outputs, &sealed))
    }

    fn finish(mut self, genesis: Genesis, key_from_log: bool) -> Result<Verified, Broken> {
        let end = self.leaves.values().sum();
        let parents = self.verifier.unresolved();
        self.unsealed(end)?;
        // A batch is signed at its end. All of a batch is in the intake before the sealer reads some of it; the sealer's own is in the
        // audit log alone.
        let open_from: Vec<u64> = (0..self.layout.tasks.len())
            .map(|task| match self.is_at_work(task) {
                true if Some(task) == self.sealer => 0,
                true => end,
                false => u64::MAX,
            })
            .collect();
        self.open.unsigned =
            self.verifier.forget_unsigned(|chain| self.chains.get(chain).map_or(u64::MAX, |(task, _)| open_from[*task]))?;
        for outputs in &mut self.outputs {
            outputs.pass(end, u64::MAX)?;
        }
        let processed = |partition: usize| self.layout.partitions[partition].reader.and_then(|task| self.processed_by(task)).unwrap_or(0);
        if let Some((partition, offset)) = self.census.epochs.iter().find(|(partition, offset)| *offset < processed(*partition)) {
            let partition = &self.layout.partitions[*partition];
            let place = format!("{}/{}", partition.name, partition.partition);
            return Err(fault(&place, *offset, end, rule::LEAF_MISSING, "a ConfigEpoch has no leaf"));
        }
        self.check_pruned_is_sealed(end)?;
        let found = existing(self.store, self.layout, &self.streams, &self.census, &parents)?;
        let may_lack = |id: Uuid| {
            self.streams.find(id).is_some_and(|(stream, sequence)| self.store.pruned().may_lack(stream, sequence)) && !found.contains(&id)
        };
        self.pruned.parents = parents.iter().filter(|id| may_lack(**id)).count() as u64;
        let tasks = self.covered();
        // A parent of a leaf that is not sealed may lie behind the copy, as its record may.
        let is_open = |id| parents.binary_search(&id).is_err();
        let verified = self.verifier.finish(|id| found.contains(&id) || may_lack(id) || is_open(id))?;
        Ok(Verified {
            emitter: keys::write(&genesis.key_name, &genesis.public),
            origin: genesis.origin,
            lineages: self.streams.lineages,
            key_from_log,
            chains: verified.chains.len(),
            signatures: self.signatures,
            leaves: self.leaves,
            open: self.open,
            copy_of: self.store.mirrored().map(ToString::to_string),
            parents: parents.len(),
            tasks,
            pruned: self.pruned,
        })
    }

    /// Before which offset a task had processed all of its input, with what it led to in the log; none where a copy does not know. A log
    /// that is no copy is written by whole commits, so nothing in it waits.
    fn processed_by(&self, task: usize) -> Option<u64> {
        self.store.mirrored().map_or(Some(u64::MAX), |_| self.processed.0[task].from)
    }

    /// Whether a task may have been at work while the log was copied.
    fn is_at_work(&self, task: usize) -> bool {
        let Span { from, to } = self.processed.0[task];
        self.store.mirrored().is_some() && (from.is_none() || from != to)
    }

    /// Only what a seal covers may be gone; of a lineage that ended, no seal can cover the end.
    fn check_pruned_is_sealed(&self, end: u64) -> Result<(), Broken> {
        let inputs = self.layout.tasks.iter().zip(&self.inputs).map(|(task, inputs)| {
            let partition = &self.layout.partitions[task.input];
            (format!("{}/{}", partition.name, partition.partition), inputs.to, inputs.start)
        });
        let in_force = self.outputs.len() - self.outputs.len() / self.streams.lineages.len().max(1);
        let outputs = self.outputs[in_force..].iter().map(|outputs| (outputs.name.clone(), outputs.to, outputs.start));
        match inputs.chain(outputs).find(|(_, sealed, start)| start > sealed) {
            Some((place, sealed, start)) => Err(fault(
                &place,
                sealed,
                end,
                rule::SEAL_MISSING,
                format!("it was pruned before {start}, and seals cover what is before {sealed}"),
            )),
            None => Ok(()),
        }
    }

    /// Numbers of the streams of a task's processors in a lineage, without that of its chain.
    fn streams_of(&self, task: usize, lineage: usize) -> Range<usize> {
        let task = &self.layout.tasks[task];
        let before = lineage * usize::from(task.streams);
        before + usize::from(task.first_stream)..before + usize::from(task.audit_stream())
    }

    fn covered(&self) -> Vec<Covered> {
        let of_task = |(number, (task, inputs)): (usize, (&TaskLayout, &Inputs<'_>))| {
            let lineages = 0..self.streams.lineages.len();
            let outputs = || lineages.clone().flat_map(|lineage| &self.outputs[self.streams_of(number, lineage)]);
            Covered {
                task: format!("{}/{}", task.name, task.partition),
                seals: inputs.seals,
                inputs: inputs.covered,
                outputs: outputs().map(|outputs| outputs.covered).sum(),
                inputs_open: self.census.records[task.input] - inputs.covered,
                outputs_open: outputs().map(|outputs| outputs.open).sum(),
            }
        };
        self.layout.tasks.iter().zip(&self.inputs).enumerate().map(of_task).collect()
    }
}

/// What one stream published against the seal over it.
fn cover(index: u64, envelope: &Envelope<'_>, outputs: &mut Outputs<'_>, sealed: &SealedOutput<'_>) -> Result<(), Broken> {
    let range = format!("{} from sequence {} to before {}", sealed.stream, sealed.from_sequence, sealed.to_sequence);
    if (sealed.stream, sealed.from_sequence) != (&outputs.name, outputs.to) {
        let due = format!("{} from sequence {}", outputs.name, outputs.to);
        return Err(leaf_fault(index, envelope, rule::SEAL_RANGE, format!("it covers {range}, due is {due}")));
    }
    outputs.pass(index, sealed.to_sequence)?;
    if sealed.from_sequence < outputs.start {
        outputs.running = Running::after(&sealed.digest);
    } else if outputs.running.seal() != sealed.digest {
        return Err(leaf_fault(index, envelope, rule::SEAL_OUTPUTS, format!("the topics do not hold what {range} was")));
    }
    outputs.to = sealed.to_sequence;
    outputs.covered += std::mem::take(&mut outputs.open);
    Ok(())
}

/// A leaf against its record.
fn compare(envelope: &Envelope<'_>, kind: Kind, record: &Record) -> Result<(), (&'static Code, String)> {
    if record.payload.len() as u64 != envelope.payload_length || payload_commit(&record.payload) != envelope.payload {
        return Err((rule::PAYLOAD, format!("the {} at {} is not the one that it commits to", record.kind.name(), envelope.source)));
    }
    let time = record.time.clamp(EventTime::EPOCH, EventTime::LATEST);
    let told = Payload::decode(record.kind, &record.payload, |payload| {
        payload.parents().iter().eq(envelope.parents.iter().copied()) && payload.policy_id() == envelope.policy.as_deref()
    });
    let same = [
        ("type", record.kind == kind),
        ("key", record.key == envelope.subject),
        ("time", time == envelope.time),
        ("parents or policy", told == Some(true)),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err((rule::RECORD, format!("the record at {} has another {what}", envelope.source))),
        None => Ok(()),
    }
}

/// The next leaf for the sealer; ConfigEpochs stand between them.
fn next_intake<T>(intake: &mut Cursor<'_>, then: impl FnOnce(Option<(u64, AuditLeaf<'_>)>) -> T) -> Result<T, RuntimeError> {
    while let Some((offset, frame)) = intake.next()? {
        if frame.kind() == Some(Kind::AuditLeaf) {
            return Ok(then(AuditLeaf::decode(frame.payload).map(|leaf| (offset, leaf))));
        }
    }
    Ok(then(None))
}

/// Those of some ids that records without a leaf have.
fn existing(store: &Store, layout: &Layout, streams: &Streams, census: &Census, ids: &[Uuid]) -> Result<HashSet<Uuid>, RuntimeError> {
    let mut wanted: BTreeMap<u32, BTreeMap<u64, Uuid>> = BTreeMap::new();
    for id in ids {
        if let Some((stream, sequence)) = streams.find(*id) {
            wanted.entry(stream).or_default().insert(sequence, *id);
        }
    }
    let mut found = HashSet::new();
    for (stream, wanted) in wanted {
        for partition in &census.partitions[stream as usize] {
            let mut records = store.records(&layout.partitions[*partition]);
            while let Some((_, frame)) = records.next()? {
                if frame.stream == stream {
                    found.extend(wanted.get(&frame.sequence));
                }
            }
        }
    }
    Ok(found)
}
