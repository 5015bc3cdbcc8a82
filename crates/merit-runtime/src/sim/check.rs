//! What must hold, whatever broke. Each rule is one of I1 to I7, the liveness, or the word of a copy that found a difference itself.
//!
//! | rule | broken where |
//! |---|---|
//! | `once` | an input is counted twice or not at all (I1), or a command under a key has two effects |
//! | `parents` | an allocation has not exactly one request and one approval, or names a parent that is nowhere (I2) |
//! | `pool` | what is granted is more than there is, or not what the ledger says (I3) |
//! | `sequence` | a stream does not rise in a partition (I4) |
//! | `chain` | an audit chain has a gap, a fork or an incident (I4, I5) |
//! | `replay` | a task that folds its input from offset 0 writes another record (I6) |
//! | `state` | it ends with another state (I6) |
//! | `answers` | a command is not answered as it is when its task folds its input from offset 0, once |
//! | `acknowledged` | a record that the broker took is not in the log (I7) |
//! | `refold` | a copy finds that what it computes again is not what the log holds |
//! | `drain` | with nothing broken any more the copies do not come to an end |

use super::Broken;
use super::broker::{Broker, Message};
use super::disk::restored;
use super::inputs::ONCE;
use crate::copy::{Rows, Setup, step};
use crate::embedded::{Differing, describe, first_difference};
use crate::frame::Frame;
use crate::store::{key_and_part, state_prefix};
use crate::task::{AnswerCounts, Answered, Outgoing, Publisher, Task};
use crate::{RuntimeError, layout::Layout};
use merit_audit::{ChainHead, EmitterKey, LogVerifier, ParsedLeaf, leaf_type};
use merit_core::record::{AggregateDelta, EvalReport, Progress, ScoreUpdated, SealedLeaf, Tick, Transfer, TransferState};
use merit_core::{Datum, Duration, EventTime, Head, Kind, List, Payload, Row, Shape, Uuid};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

type Checked = Result<(), Broken>;

fn broken<T>(invariant: &'static str, detail: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { invariant, detail: detail.into() })
}

/// How far one allocation came.
#[derive(Default)]
struct Life {
    requested: u32,
    approved: u32,
    applied: u32,
    ended: bool,
    delta: u64,
}

#[derive(Default)]
struct Pool {
    capacity: u64,
    /// Sum of the deltas of what is approved and not given back.
    granted: u64,
    /// The same by the ledger: what the accounts of entities hold.
    occupied: i128,
}

/// Looks at every record once it is stable.
pub(crate) struct Checker {
    setup: Rc<Setup>,
    /// Offset of the next record a partition.
    next: Vec<u64>,
    sequences: BTreeMap<(usize, u32), u64>,
    chains: BTreeMap<(usize, String), ChainHead>,
    /// Offset of the last scored report a partition.
    scored: BTreeMap<usize, u64>,
    allocations: BTreeMap<Uuid, Life>,
    pools: BTreeMap<String, Pool>,
    /// What commands under a key led to, by the type and the words that name the key.
    once: BTreeSet<(Kind, String)>,
    ids: BTreeSet<Uuid>,
    parents: BTreeSet<Uuid>,
    lineages: Vec<String>,
    /// Name of the audit log.
    origin: String,
    /// Records by type.
    pub(crate) records: BTreeMap<&'static str, u64>,
}

impl Checker {
    pub(crate) fn new(setup: &Rc<Setup>) -> Checker {
        Checker {
            setup: Rc::clone(setup),
            next: vec![0; setup.layout.partitions.len()],
            sequences: BTreeMap::new(),
            chains: BTreeMap::new(),
            scored: BTreeMap::new(),
            allocations: BTreeMap::new(),
            pools: BTreeMap::new(),
            once: BTreeSet::new(),
            ids: BTreeSet::new(),
            parents: BTreeSet::new(),
            lineages: Vec::new(),
            origin: String::new(),
            records: BTreeMap::new(),
        }
    }

    /// Looks at what became stable.
    pub(crate) fn observe(&mut self, broker: &Broker) -> Checked {
        for partition in 0..self.next.len() {
            if self.next[partition] == broker.stable(partition) {
                continue;
            }
            let (records, next) = broker.fetch(partition, self.next[partition], usize::MAX);
            self.next[partition] = next;
            for (offset, message) in records {
                let seen = match Frame::decode(&message.value) {
                    Some(frame) => self.record(partition, &frame),
                    None => broken("replay", "no record"),
                };
                let at = |Broken { invariant, detail }| Broken {
                    invariant,
                    detail: format!("{}: {detail}", at_of(&self.setup.layout, partition, offset)),
                };
                seen.map_err(at)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, partition: usize, frame: &Frame<'_>) -> Checked {
        let Some(kind) = frame.kind() else { return broken("replay", "an unknown type") };
        *self.records.entry(kind.name()).or_default() += 1;
        if frame.stream != u32::from(Head::OUTSIDE) {
            let last = self.sequences.insert((partition, frame.stream), frame.sequence);
            if last.is_some_and(|last| last >= frame.sequence) {
                return broken("sequence", format!("stream {} has {} behind {last:?}", frame.stream, frame.sequence));
            }
        }
        match kind {
            Kind::AuditLeaf | Kind::SealedLeaf => self.leaf(partition, kind, frame),
            Kind::ScoreUpdated => self.score(partition, frame),
            _ => Payload::decode(kind, frame.payload, |payload| self.allocation(payload)).unwrap_or_else(|| broken("replay", "unreadable")),
        }
    }

    fn leaf(&mut self, partition: usize, kind: Kind, frame: &Frame<'_>) -> Checked {
        let leaf = match kind {
            Kind::AuditLeaf => merit_core::record::AuditLeaf::decode(frame.payload).map(|leaf| leaf.leaf),
            _ => SealedLeaf::decode(frame.payload).map(|leaf| leaf.leaf),
        };
        let Some(Ok(leaf)) = leaf.map(ParsedLeaf::parse) else { return broken("chain", "no leaf") };
        let envelope = &leaf.envelope;
        let chain = (partition, envelope.stream.to_string());
        let due = self.chains.get(&chain).copied().unwrap_or_else(|| ChainHead::genesis(&envelope.log, &envelope.stream));
        if envelope.sequence != due.sequence || envelope.prev != due.hash {
            let which = if envelope.sequence == due.sequence { "a fork at" } else { "not" };
            return broken("chain", format!("{} is {which} sequence {}, which is due", envelope.sequence, due.sequence));
        }
        if *envelope.leaf_type == *leaf_type(Kind::AuditIncident) {
            return broken("chain", format!("the sealer reports an incident of {}", envelope.subject));
        }
        self.chains.insert(chain, ChainHead { sequence: due.sequence + 1, hash: leaf.event_hash });
        self.origin = envelope.log.to_string();
        self.ids.insert(envelope.source.id());
        self.parents.extend(envelope.parents.iter());
        Ok(())
    }

    fn score(&mut self, partition: usize, frame: &Frame<'_>) -> Checked {
        let Some(score) = ScoreUpdated::decode(frame.payload) else { return broken("replay", "unreadable") };
        let of_reports = self.setup.layout.partitions[partition].name == "eval.scores";
        let last = if of_reports { self.scored.insert(partition, score.offset) } else { None };
        match last.filter(|last| *last >= score.offset) {
            Some(last) => broken("once", format!("the report at offset {} is scored behind that at {last}", score.offset)),
            None => Ok(()),
        }
    }

    fn allocation(&mut self, payload: Payload<'_>) -> Checked {
        let life = |all: &mut BTreeMap<Uuid, Life>, id: Uuid, change: fn(&mut Life)| {
            let life = all.entry(id).or_default();
            change(life);
            let one = life.requested == 1 && life.approved <= 1 && life.applied <= life.approved;
            if one { Ok(()) } else { broken("parents", format!("allocation {id} is not one request, one approval, one order")) }
        };
        let all = &mut self.allocations;
        match payload {
            Payload::PoolDefined(pool) => {
                self.pools.entry(pool.pool.into()).or_default().capacity = pool.capacity;
                Ok(())
            }
            // A preemption is ordered and given back as an allocation is, from what others were granted.
            Payload::AllocationPreempted(it) => {
                for part in it.taken.iter() {
                    let from = all.entry(part.allocation_id).or_default();
                    from.delta = match from.delta.checked_sub(part.delta) {
                        Some(left) => left,
                        None => return broken("pool", format!("allocation {} gives more than it has", part.allocation_id)),
                    };
                    from.ended |= from.delta == 0;
                }
                all.insert(it.allocation_id, Life { requested: 1, approved: 1, delta: it.delta, ..Life::default() });
                Ok(())
            }
            Payload::PromotionProposed(it) => self.effect(Kind::PromotionProposed, it.rationale),
            Payload::AllocationRequested(it) => {
                life(all, it.allocation_id, |life| life.requested += 1)?;
                self.effect(Kind::AllocationRequested, it.reason)
            }
            Payload::AllocationApproved(it) => {
                life(all, it.allocation_id, |life| life.approved += 1)?;
                all.entry(it.allocation_id).or_default().delta = it.delta;
                self.grant(it.pool, it.delta, &it.transfers)
            }
            Payload::AllocationApplied(it) => life(all, it.allocation_id, |life| life.applied += 1),
            Payload::AllocationConfirmed(it) => {
                life(all, it.allocation_id, |_| {})?;
                self.give_back(it.pool, 0, &it.transfers)
            }
            Payload::AllocationRejected(it) => {
                life(all, it.allocation_id, |_| {})?;
                let back = self.end(it.allocation_id)?;
                self.give_back(it.pool, back, &it.transfers)
            }
            Payload::AllocationReleased(it) => {
                life(all, it.allocation_id, |_| {})?;
                let back = self.end(it.allocation_id)?;
                self.give_back(it.pool, back, &it.transfers)
            }
            _ => Ok(()),
        }
    }

    /// A command under a key has its effect once.
    fn effect(&mut self, kind: Kind, words: &str) -> Checked {
        match words.starts_with(ONCE) && !self.once.insert((kind, words.into())) {
            true => broken("once", format!("the command {words} led to a second {}", kind.name())),
            false => Ok(()),
        }
    }

    /// What an allocation gives back as it ends, once.
    fn end(&mut self, id: Uuid) -> Result<u64, Broken> {
        let life = self.allocations.entry(id).or_default();
        match std::mem::replace(&mut life.ended, true) {
            true => broken("parents", format!("allocation {id} ends twice")),
            false => Ok(life.delta),
        }
    }

    fn grant(&mut self, pool: &str, delta: u64, transfers: &List<'_, Transfer<'_>>) -> Checked {
        let of_pool = self.pools.entry(pool.into()).or_default();
        of_pool.granted += delta;
        if of_pool.granted > of_pool.capacity {
            return broken("pool", format!("{} of {} units of {pool} are granted", of_pool.granted, of_pool.capacity));
        }
        self.give_back(pool, 0, transfers)
    }

    fn give_back(&mut self, pool: &str, delta: u64, transfers: &List<'_, Transfer<'_>>) -> Checked {
        let of_pool = self.pools.entry(pool.into()).or_default();
        of_pool.granted -= delta.min(of_pool.granted);
        let occupied = |account: &str| account.starts_with("OCC:");
        for transfer in transfers.iter() {
            let amount = i128::from(transfer.amount);
            let moved = match transfer.state {
                TransferState::Pending | TransferState::Moved => amount,
                TransferState::Voided => -amount,
                TransferState::Posted => 0,
            };
            of_pool.occupied += moved * (i128::from(occupied(transfer.credit)) - i128::from(occupied(transfer.debit)));
        }
        match of_pool.occupied == i128::from(of_pool.granted) {
            true => Ok(()),
            false => broken("pool", format!("{} units of {pool} are granted, the ledger has {}", of_pool.granted, of_pool.occupied)),
        }
    }

    /// Looks at the whole once everything has come to an end; at no changelog that was damaged.
    pub(crate) fn finish(&mut self, broker: &Broker, acknowledged: &[(usize, u64, Rc<Message>)], damaged: &BTreeSet<usize>) -> Checked {
        for (partition, offset, message) in acknowledged {
            if broker.fetch(*partition, *offset, 1).0.first() != Some(&(*offset, Rc::clone(message))) {
                return broken("acknowledged", at_of(&self.setup.layout, *partition, *offset));
            }
        }
        let setup = Rc::clone(&self.setup);
        let mut answers = Vec::new();
        for number in 0..setup.layout.tasks.len() {
            let mut replayed = self.replay(broker, number, &mut answers)?;
            let rows = rows_of(&mut replayed, Rows::new());
            self.conserve(broker, number, &rows)?;
            if !damaged.contains(&number) {
                self.compare_state(broker, number, replayed, &rows)?;
            }
        }
        let recorded = broker.fetch(setup.answers(), 0, usize::MAX).0;
        let mut recorded: Vec<&[u8]> = recorded.iter().map(|(_, message)| message.value.as_slice()).collect();
        recorded.sort_unstable();
        answers.sort_unstable();
        if recorded != answers {
            return broken("answers", format!("{} were given, {} are right", recorded.len(), answers.len()));
        }
        self.collect_ids(broker);
        self.verify_signatures(broker)?;
        match self.parents.iter().find(|parent| !self.ids.contains(*parent)) {
            Some(parent) => broken("parents", format!("{parent} is nowhere")),
            None => Ok(()),
        }
    }

    /// Folds the input of a task from offset 0 and compares all that it writes; gives the task, and its answers behind `answers`.
    fn replay(&mut self, broker: &Broker, number: usize, answers: &mut Vec<Vec<u8>>) -> Result<Task, Broken> {
        let setup = Rc::clone(&self.setup);
        let layout = &setup.layout.tasks[number];
        let failed = |error: RuntimeError| Broken { invariant: "replay", detail: error.to_string() };
        let mut task = restored(&setup, number, &Rows::new()).map_err(failed)?;
        let mut computed = Computed::default();
        fold(&setup, &mut task, broker, layout.input, &mut computed).map_err(failed)?;
        self.lineages = task.lineages().to_vec();
        answers.append(&mut computed.answers);
        for partition in &setup.outputs[number] {
            let recorded = broker.fetch(*partition, 0, usize::MAX).0;
            let mut recorded =
                recorded.iter().filter(|(_, message)| Frame::decode(&message.value).is_some_and(|frame| layout.owns(frame.stream)));
            let computed = computed.records.remove(partition).unwrap_or_default();
            for at in 0.. {
                let differing = match (recorded.next(), computed.get(at)) {
                    (None, None) => break,
                    (Some((_, message)), Some(value)) if message.value == *value => continue,
                    (found, value) => differing(found.map(|(_, message)| message.value.as_slice()), value.map(Vec::as_slice)),
                };
                return broken("replay", format!("{}: {differing}", name(&setup.layout, *partition)));
            }
        }
        Ok(task)
    }

    /// The state that changelog and refold give, against that of the replay: the same rows, and the same answers to what may come.
    fn compare_state(&self, broker: &Broker, number: usize, mut replayed: Task, expected: &Rows) -> Checked {
        let setup = &self.setup;
        let (input, last) = (setup.layout.tasks[number].input, setup.last_key(number));
        let failed = |error: RuntimeError| Broken { invariant: "state", detail: error.to_string() };
        let records = broker.fetch(setup.changelog(number), 0, usize::MAX).0;
        let mut rows: Rows = records.iter().map(|(_, message)| (message.key.clone(), message.value.clone())).collect();
        rows.retain(|key, row| !row.is_empty() && *key != last);
        let mut restored = restored(setup, number, &rows).map_err(failed)?;
        fold(setup, &mut restored, broker, input, &mut Computed::default()).map_err(failed)?;
        let rows = rows_of(&mut restored, rows);
        let task = &setup.layout.tasks[number];
        let as_fine = AS_FINE_AS_SAVED.map(|store| state_prefix(&task.name, task.partition, store));
        let keys: BTreeSet<&Vec<u8>> = rows.keys().chain(expected.keys()).collect();
        let mut keys = keys.into_iter().filter(|key| !as_fine.iter().any(|prefix| key.starts_with(prefix)));
        if let Some(key) = keys.find(|key| rows.get(*key) != expected.get(*key)) {
            return broken("state", format!("row {:?} of {} differs", String::from_utf8_lossy(key), restored.name()));
        }
        let mut answers = [Computed::default(), Computed::default()];
        for (task, answers) in [&mut restored, &mut replayed].into_iter().zip(&mut answers) {
            for (offset, message) in further(&broker.fetch(input, 0, usize::MAX).0) {
                step(setup, task, offset, Frame::decode(&message.value).as_ref(), answers).map_err(failed)?;
            }
        }
        match answers[0] == answers[1] {
            true => Ok(()),
            false => broken("state", format!("{} restored and replayed answer otherwise", restored.name())),
        }
    }

    /// Every input of a report partition is in one class, and what was accepted was scored or late.
    fn conserve(&self, broker: &Broker, number: usize, rows: &Rows) -> Checked {
        let layout = &self.setup.layout;
        let task = &layout.tasks[number];
        if layout.partitions[task.input].name != "eval.reports" {
            return Ok(());
        }
        let classes = numbers(layout, number, "ingest-counts", rows);
        let scores = numbers(layout, number, "score-counts", rows);
        let records = |topic: &str| layout.find(topic, task.partition).map_or(0, |at| broker.fetch(at, 0, usize::MAX).0.len() as u64);
        let of = |counts: &BTreeMap<String, u64>, name: &str| counts.get(name).copied().unwrap_or(0);
        let equations = [
            ("inputs are in classes", records("eval.reports"), classes.values().sum::<u64>() + again(layout, number, rows)),
            ("accepted are scored or late", of(&classes, "accepted"), of(&scores, "scored") + of(&scores, "late")),
            ("scored have a score", of(&scores, "scored"), records("eval.scores")),
            ("late are told", of(&scores, "late"), records("eval.late")),
            ("rejected are told", of(&classes, "rejected"), records("eval.rejected")),
        ];
        match equations.into_iter().find(|(_, left, right)| left != right) {
            Some((what, left, right)) => {
                broken("once", format!("{what}, but in {} it is {left} and {right}", at_of(layout, task.input, 0)))
            }
            None => Ok(()),
        }
    }

    /// What `merit audit verify` does with the leaves alone, in the runs that sign.
    fn verify_signatures(&self, broker: &Broker) -> Checked {
        let Some(signer) = &self.setup.signer else { return Ok(()) };
        let (Ok(key), Some(audit)) = (EmitterKey::new(signer.name(), &signer.public()), self.setup.layout.find("audit", 0)) else {
            return broken("chain", "no key or no audit log");
        };
        let mut log = LogVerifier::new(&self.origin, vec![key]);
        for (offset, message) in broker.fetch(audit, 0, usize::MAX).0 {
            let frame = Frame::decode(&message.value);
            if let Some(sealed) = frame.and_then(|frame| SealedLeaf::decode(frame.payload)) {
                log.leaf(offset, sealed.leaf, sealed.payload).map_err(|fault| Broken { invariant: "chain", detail: fault.to_string() })?;
            }
        }
        let verified = log.finish(|id| self.ids.contains(&id));
        verified.map(drop).map_err(|fault| Broken { invariant: "chain", detail: fault.to_string() })
    }

    fn collect_ids(&mut self, broker: &Broker) {
        let setup = Rc::clone(&self.setup);
        for partition in 0..setup.layout.partitions.len() {
            for (_, message) in broker.fetch(partition, 0, usize::MAX).0 {
                let Some(frame) = Frame::decode(&message.value) else { continue };
                let stream = setup.layout.stream_name(frame.stream as u16, &self.lineages);
                self.ids.extend(stream.map(|stream| Uuid::of_record(&stream, frame.sequence)));
            }
        }
    }
}

/// Stores whose rows are as fine as they were when they were saved: what they lead to is compared instead.
const AS_FINE_AS_SAVED: [&str; 2] = ["windows", "aggregate-windows"];

/// What a task writes.
#[derive(Default, PartialEq)]
struct Computed {
    /// By partition.
    records: BTreeMap<usize, Vec<Vec<u8>>>,
    answers: Vec<Vec<u8>>,
}

impl Publisher for Computed {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError> {
        let mut value = Vec::new();
        record.frame().put(&mut value);
        self.records.entry(record.partition).or_default().push(value);
        Ok(())
    }

    fn answer(&mut self, answered: &Answered<'_>) {
        let mut answer = Vec::new();
        answered.put(&mut answer);
        self.answers.push(answer);
    }
}

/// Runs a task from where it stands to the end of its input.
fn fold(setup: &Setup, task: &mut Task, broker: &Broker, input: usize, publisher: &mut dyn Publisher) -> Result<(), RuntimeError> {
    let records = broker.fetch(input, task.position, usize::MAX).0;
    records.iter().try_for_each(|(offset, message)| step(setup, task, *offset, Frame::decode(&message.value).as_ref(), publisher))
}

/// Earlier rows with those that changed since.
fn rows_of(task: &mut Task, mut rows: Rows) -> Rows {
    task.checkpoint(&mut |key, row| {
        rows.insert(key, row.to_vec());
    });
    rows.retain(|_, row| !row.is_empty());
    rows
}

/// What may come behind some inputs: the last of each key again, at once, hours and a day later.
fn further(inputs: &[(u64, Rc<Message>)]) -> Vec<(u64, Message)> {
    let frames = inputs.iter().filter_map(|(_, message)| Frame::decode(&message.value));
    let last: BTreeMap<(u32, &str), Frame<'_>> = frames.map(|frame| ((frame.kind, frame.key), frame)).collect();
    let newest = last.values().map(|frame| frame.time).max().unwrap_or(EventTime::EPOCH);
    let times = [0, 2, 26].map(|hours| EventTime(newest.0 + hours * Duration::HOUR.0));
    let later = times.into_iter().flat_map(|time| last.values().filter_map(move |frame| at_time(frame, time)));
    (inputs.last().map_or(0, |(offset, _)| offset + 1)..).zip(later).collect()
}

/// The same record at another time; of those whose time moves windows.
fn at_time(frame: &Frame<'_>, time: EventTime) -> Option<Message> {
    let mut payload = Vec::new();
    match frame.kind()? {
        Kind::EvalReport => EvalReport { id: None, timestamp: time, ..EvalReport::decode(frame.payload)? }.put(&mut payload),
        Kind::AggregateDelta => AggregateDelta { timestamp: time, ..AggregateDelta::decode(frame.payload)? }.put(&mut payload),
        Kind::Progress => Progress { watermark: time, ..Progress::decode(frame.payload)? }.put(&mut payload),
        Kind::Tick => Tick { time }.put(&mut payload),
        _ => return None,
    }
    let mut value = Vec::new();
    Frame { time, payload: &payload, ..*frame }.put(&mut value);
    Some(Message { key: Vec::new(), value })
}

/// Commands that did not run, since they had come before.
fn again(layout: &Layout, number: usize, rows: &Rows) -> u64 {
    let task = &layout.tasks[number];
    let prefix = state_prefix(&task.name, task.partition, AnswerCounts::STORE);
    let row = rows.iter().find(|(key, _)| key.strip_prefix(prefix.as_slice()).and_then(key_and_part).is_some());
    row.and_then(|(_, row)| AnswerCounts::decode(row)).map_or(0, |counts| counts.again)
}

/// The numbers of a store of one row, by name.
fn numbers(layout: &Layout, number: usize, store: &str, rows: &Rows) -> BTreeMap<String, u64> {
    let task = &layout.tasks[number];
    let mut shape: Option<&'static Shape> = None;
    for mut processor in layout.chain(number) {
        processor.stores(&mut |found| {
            if found.name() == store {
                shape = Some(found.shape(0));
            }
        });
    }
    let prefix = state_prefix(&task.name, task.partition, store);
    let row = rows.iter().find(|(key, _)| key.strip_prefix(prefix.as_slice()).and_then(key_and_part).is_some());
    let value = shape.zip(row).and_then(|(shape, (_, row))| merit_codec::to_json(shape, row));
    let fields = value.as_ref().and_then(serde_json::Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

fn name(layout: &Layout, partition: usize) -> String {
    format!("{}/{}", layout.partitions[partition].name, layout.partitions[partition].partition)
}

fn at_of(layout: &Layout, partition: usize, offset: u64) -> String {
    format!("{} at offset {offset}", name(layout, partition))
}

fn differing(recorded: Option<&[u8]>, computed: Option<&[u8]>) -> String {
    let Differing { field, recorded, computed } = match (recorded.and_then(Frame::decode), computed.and_then(Frame::decode)) {
        (Some(recorded), Some(computed)) => first_difference(&recorded, &computed),
        (Some(recorded), None) => Differing::new("record", describe(&recorded), "nothing"),
        (None, computed) => Differing::new("record", "nothing", computed.map_or_else(String::new, |frame| describe(&frame))),
    };
    format!("{field}: the log has {recorded}, computed again it is {computed}")
}
