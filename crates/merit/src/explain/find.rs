//! Finding records in a log by what they are and what they mention.

use crate::decisions::{Record, Streams, kind_of};
use crate::failure::Failure;
use crate::log;
use merit_audit::ParsedLeaf;
use merit_core::id::Hex;
use merit_core::record::{EvalReport, SealedLeaf};
use merit_core::{Datum, Key, Kind, Uuid, record};
use merit_runtime::frame::Frame;
use merit_runtime::layout::{Layout, Partition};
use merit_runtime::lineage::Cause;
use merit_runtime::store::Store;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::collections::HashMap;

/// A record with its name, its fields and its proof.
pub(super) struct Item {
    pub(super) id: Uuid,
    /// `topic/partition`.
    topic: String,
    pub(super) record: Record,
    pub(super) value: Value,
    pub(super) proof: Option<Proof>,
}

/// Where the audit log vouches for a decision.
#[derive(Clone)]
pub(super) struct Proof {
    /// Its leaf in the audit log.
    pub(super) index: u64,
    pub(super) chain: String,
    pub(super) sequence: u64,
    /// Why the chain's lineage began, where it is not the first.
    pub(super) cause: Option<Cause>,
    /// The leaf whose signature covers it; its own index where it is signed itself.
    pub(super) signed_by: Option<u64>,
}

impl Item {
    /// A text field.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.value[field].as_str()
    }

    /// An id in a field.
    pub(super) fn id_in(&self, field: &str) -> Option<Uuid> {
        self.text(field).and_then(Uuid::parse)
    }

    /// The ids in a list.
    pub(super) fn ids_in(&self, pointer: &str) -> Vec<Uuid> {
        let ids = self.value.pointer(pointer).and_then(Value::as_array);
        ids.into_iter().flatten().filter_map(|id| Uuid::parse(id.as_str()?)).collect()
    }

    /// The allocations that a preemption takes from.
    pub(super) fn taken(&self) -> impl Iterator<Item = Uuid> {
        let parts = self.value["taken"].as_array().into_iter().flatten();
        parts.filter_map(|part| Uuid::parse(part["allocationId"].as_str()?))
    }

    /// The producer's id in the report that was rejected.
    pub(super) fn reported_id(&self) -> Option<String> {
        let rejected = record::Rejected::decode(&self.record.payload).filter(|_| self.record.kind == Kind::Rejected)?;
        let report = EvalReport::decode(rejected.bytes).filter(|_| rejected.record_type == Kind::EvalReport.name())?;
        report.id.map(Into::into)
    }

    /// SHA-256 of its encoding, as a verdict names what it judged.
    pub(super) fn digest(&self) -> String {
        Hex(&Sha256::digest(&self.record.payload)).to_string()
    }

    /// Topic, partition and offset.
    pub(super) fn place(&self) -> String {
        format!("{} at offset {}", self.topic, self.record.offset)
    }

    pub(super) fn as_json(&self) -> Value {
        let proof = self.proof.as_ref().map(|proof| {
            json!({ "index": proof.index, "chain": proof.chain, "sequence": proof.sequence,
                "newLineage": proof.cause.as_ref().map(|cause| json!({ "partition": cause.partition, "reason": cause.reason })),
                "signed": proof.signed_by == Some(proof.index), "coveredBy": proof.signed_by })
        });
        json!({ "id": self.id.to_string(), "type": self.record.kind.name(), "topic": self.topic, "offset": self.record.offset,
            "timestamp": super::words::time(self.record.time), "value": self.value, "proof": proof })
    }
}

/// Reads a log.
pub(super) struct Finder<'s> {
    store: &'s Store,
    layout: &'s Layout,
    streams: Streams,
}

impl<'s> Finder<'s> {
    pub(super) fn new(store: &'s Store, layout: &'s Layout) -> Result<Finder<'s>, Failure> {
        Ok(Finder { store, layout, streams: Streams::new(store, layout)? })
    }

    fn item(&self, partition: usize, offset: u64, frame: &Frame<'_>) -> Result<Item, Failure> {
        let at = &self.layout.partitions[partition];
        let value = serde_json::from_str(&log::value(frame)).unwrap_or_default();
        Ok(Item {
            id: self.streams.id(at, offset, frame),
            topic: format!("{}/{}", at.name, at.partition),
            record: Record::of(self.layout, partition, offset, frame)?,
            value,
            proof: None,
        })
    }

    /// The record of that id, where a topic holds it.
    pub(super) fn record(&self, id: Uuid) -> Result<Option<Item>, Failure> {
        match self.streams.find(id) {
            Some((stream, sequence)) => self.inner(stream, sequence),
            None => self.outside(id),
        }
    }

    /// Whether the record of that id may have been pruned.
    pub(super) fn may_lack(&self, id: Uuid) -> bool {
        match self.streams.find(id) {
            Some((stream, sequence)) => self.store.pruned().may_lack(stream, sequence),
            None => self.place_outside(id).is_some_and(|at| id.sequence() < self.store.start(&self.layout.partitions[at])),
        }
    }

    /// The records of those ids.
    pub(super) fn records(&self, ids: &[Uuid]) -> Result<Vec<Item>, Failure> {
        ids.iter().filter_map(|id| self.record(*id).transpose()).collect()
    }

    /// The record that the same processor emitted right behind this one.
    pub(super) fn behind(&self, item: &Item) -> Result<Option<Item>, Failure> {
        self.inner(item.record.stream, item.record.sequence + 1)
    }

    /// Backwards, since the topic of reports is the first and the largest.
    fn inner(&self, stream: u32, sequence: u64) -> Result<Option<Item>, Failure> {
        for (at, partition) in self.layout.partitions.iter().enumerate().rev() {
            let mut records = self.store.records(partition);
            while let Some((offset, frame)) = records.next()? {
                match frame.sequence.cmp(&sequence) {
                    Ordering::Equal if frame.stream == stream => return self.item(at, offset, &frame).map(Some),
                    Ordering::Greater if frame.stream == stream => break,
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// An id of a record from outside carries its offset.
    fn outside(&self, id: Uuid) -> Result<Option<Item>, Failure> {
        let Some(at) = self.place_outside(id).filter(|_| !self.may_lack(id)) else { return Ok(None) };
        let mut records = self.store.read(&self.layout.partitions[at], id.sequence());
        let found = records.next()?.filter(|(offset, _)| *offset == id.sequence());
        found.map(|(offset, frame)| self.item(at, offset, &frame)).transpose()
    }

    /// The partition whose records from outside have such ids.
    fn place_outside(&self, id: Uuid) -> Option<usize> {
        let place = |partition: &Partition| format!("{}/{}", partition.name, partition.partition);
        self.layout.partitions.iter().position(|partition| Uuid::of_record(&place(partition), id.sequence()) == id)
    }

    /// Records of some topics that hold one of these byte strings, and that `wanted` takes.
    pub(super) fn that_mention(&self, topics: &[&str], needles: &[&[u8]], wanted: impl Fn(&Item) -> bool) -> Result<Vec<Item>, Failure> {
        let mentions = |frame: &Frame<'_>| needles.iter().any(|needle| contains(frame.payload, needle));
        self.each(topics, mentions, wanted)
    }

    /// Commands to the allocator by the digests of their encodings.
    pub(super) fn commands(&self, digests: &[String]) -> Result<Vec<Item>, Failure> {
        let commands = [Kind::RequestAllocation, Kind::Approve];
        let is_command = |frame: &Frame<'_>| frame.kind().is_some_and(|kind| commands.contains(&kind));
        self.each(&["alloc.requests"], is_command, |item| digests.contains(&item.digest()))
    }

    fn each(&self, topics: &[&str], may: impl Fn(&Frame<'_>) -> bool, wanted: impl Fn(&Item) -> bool) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        for at in topics.iter().filter_map(|topic| self.layout.all_of(topic)).flatten() {
            let mut records = self.store.records(&self.layout.partitions[at]);
            while let Some((offset, frame)) = records.next()? {
                if may(&frame) {
                    items.extend(Some(self.item(at, offset, &frame)?).filter(&wanted));
                }
            }
        }
        Ok(items)
    }

    /// The last score of an agent, a division or a product.
    pub(super) fn latest_score(&self, agent: &str) -> Result<Option<Item>, Failure> {
        let key = Key::new(agent);
        for all in ["eval.scores", "eval.aggregate-scores"].iter().filter_map(|topic| self.layout.all_of(topic)) {
            let at = all.start + key.partition(all.len() as u32) as usize;
            let partition = &self.layout.partitions[at];
            let mut latest = None;
            let mut records = self.store.records(partition);
            while let Some((offset, frame)) = records.next()? {
                if frame.key == agent {
                    latest = Some(offset);
                }
            }
            if let Some(latest) = latest {
                return self.store.read(partition, latest).next()?.map(|(offset, frame)| self.item(at, offset, &frame)).transpose();
            }
        }
        Ok(None)
    }

    /// Adds to each decision where the audit log vouches for it.
    pub(super) fn prove<'i>(&self, items: impl Iterator<Item = &'i mut Item>) -> Result<(), Failure> {
        let mut wanted: HashMap<Uuid, &mut Item> =
            items.filter(|item| item.proof.is_none() && Kind::DECISIONS.contains(item.record.kind)).map(|item| (item.id, item)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut waiting: HashMap<String, Vec<Uuid>> = HashMap::new();
        for at in self.layout.all_of("audit").into_iter().flatten() {
            let partition = &self.layout.partitions[at];
            let mut leaves = self.store.records(partition);
            // Its place among the leaves: a log on Kafka has offsets without one.
            let mut indices = 0..;
            while let Some((offset, frame)) = leaves.next()? {
                let index = indices.next().unwrap_or(offset);
                kind_of(partition, offset, &frame)?;
                let Some(sealed) = SealedLeaf::decode(frame.payload) else { continue };
                let Ok(leaf) = ParsedLeaf::parse(sealed.leaf) else { continue };
                let (chain, id) = (&*leaf.envelope.stream, leaf.envelope.source.id());
                if let Some(item) = wanted.get_mut(&id) {
                    let (sequence, cause) = (leaf.envelope.sequence, self.streams.cause(chain).cloned());
                    item.proof = Some(Proof { index, chain: chain.into(), sequence, cause, signed_by: None });
                    waiting.entry(chain.into()).or_default().push(id);
                }
                if leaf.signatures().len() > 0 {
                    for id in waiting.remove(chain).unwrap_or_default() {
                        if let Some(proof) = wanted.get_mut(&id).and_then(|item| item.proof.as_mut()) {
                            proof.signed_by = Some(index);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}
