//! Which decision rests on which record.

use super::fold::{Folded, Ids, Rows};
use super::key::{Key, Table, behind, last_id};
use super::row::RecordRow;
use merit_core::record::ScoreUpdated;
use merit_core::{Datum, EventTime, Kind, Payload, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::layout::{Layout, Partition};
use merit_runtime::store::Store;
use merit_runtime::tables::{Direction, Tables};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

/// The most nodes that one graph shows.
const MOST_NODES: usize = 256;

pub(super) fn fold(record: &Folded<'_>, rows: &mut Rows<'_>) {
    if !Kind::DECISIONS.contains(record.kind) {
        return;
    }
    let id = record.id();
    rows.put(Key::of(Table::Node).id(id).end(), &record.row());
    for parent in parents(record.kind, record.frame.payload) {
        rows.mark(Key::of(Table::Child).id(parent).id(id).end());
    }
}

fn parents(kind: Kind, payload: &[u8]) -> Vec<Uuid> {
    Payload::decode(kind, payload, |payload| payload.parents().iter().collect()).unwrap_or_default()
}

/// A record of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub kind: Kind,
    /// Number of its partition.
    pub partition: usize,
    /// Its offset.
    pub offset: u64,
    /// Its timestamp.
    pub time: EventTime,
    /// Its encoding.
    pub payload: Vec<u8>,
    /// What it rests on.
    pub parents: Vec<Uuid>,
}

/// What one decision rests on, and what rests on it.
pub struct Graph<'s> {
    /// The tables.
    pub tables: &'s Tables,
    /// The log.
    pub store: &'s Store,
    /// Its topics.
    pub layout: &'s Layout,
    /// Names of its streams.
    pub ids: &'s Ids,
}

impl Graph<'_> {
    /// The records before and behind a decision, in the order of their time; none where there is no such decision.
    pub fn around(&self, id: Uuid) -> Result<Option<Vec<GraphNode>>, RuntimeError> {
        let Some(start) = self.decision(id)? else { return Ok(None) };
        let mut nodes = BTreeMap::from([(id, start)]);
        let mut missing = BTreeSet::new();
        let mut next = VecDeque::from([id]);
        while let Some(id) = next.pop_front() {
            let from = nodes[&id].clone();
            for neighbour in self.neighbours(&from)? {
                if nodes.len() >= MOST_NODES || nodes.contains_key(&neighbour) || !missing.insert(neighbour) {
                    continue;
                }
                if let Some(node) = self.find(neighbour, &from)? {
                    nodes.insert(neighbour, node);
                    next.push_back(neighbour);
                }
            }
        }
        let mut nodes: Vec<GraphNode> = nodes.into_values().collect();
        nodes.sort_by_key(|node| (node.time, node.partition, node.offset));
        Ok(Some(nodes))
    }

    fn neighbours(&self, node: &GraphNode) -> Result<Vec<Uuid>, RuntimeError> {
        let mut ids = node.parents.clone();
        let prefix = Key::of(Table::Child).id(node.id).end();
        let end = behind(prefix.clone());
        self.tables.scan(&prefix, Direction::Forward, |key, _| {
            ids.extend(last_id(key).filter(|_| *key < *end));
            if *key < *end && ids.len() < MOST_NODES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(ids)
    }

    fn find(&self, id: Uuid, from: &GraphNode) -> Result<Option<GraphNode>, RuntimeError> {
        if let Some(node) = self.decision(id)? {
            return Ok(Some(node));
        }
        match from.kind {
            Kind::ScoreUpdated => self.report(id, from),
            _ => self.score(id, from),
        }
    }

    fn decision(&self, id: Uuid) -> Result<Option<GraphNode>, RuntimeError> {
        let row = self.tables.get(&Key::of(Table::Node).id(id).end())?;
        let node = |row: RecordRow<'_>| {
            let kind = Kind::from_number(u8::try_from(row.kind).ok()?)?;
            let parents = parents(kind, row.payload);
            let RecordRow { partition, offset, time, payload, .. } = row;
            Some(GraphNode { id, kind, partition: partition as usize, offset, time, payload: payload.to_vec(), parents })
        };
        Ok(row.as_deref().and_then(RecordRow::decode).and_then(node))
    }

    /// The score that a proposal rests on lies in the same partition of its own topic.
    fn score(&self, id: Uuid, from: &GraphNode) -> Result<Option<GraphNode>, RuntimeError> {
        let Partition { name, partition, .. } = &self.layout.partitions[from.partition];
        let topic = match name.as_str() {
            "eval.promotions" => "eval.scores",
            "eval.aggregate-promotions" => "eval.aggregate-scores",
            _ => return Ok(None),
        };
        let Some(at) = self.layout.find(topic, *partition) else { return Ok(None) };
        let found = search(self.store, &self.layout.partitions[at], |frame| frame.sequence, id.sequence())?;
        let Some((offset, kind, time, payload, stream)) = found else { return Ok(None) };
        if self.ids.of(stream, id.sequence()) != id {
            return Ok(None);
        }
        let report = ScoreUpdated::decode(&payload).and_then(|score| self.report_id(at, score.offset));
        Ok(Some(GraphNode { id, kind, partition: at, offset, time, payload, parents: report.into_iter().collect() }))
    }

    fn report_partition(&self, scores: usize) -> Option<usize> {
        let Partition { name, partition, .. } = &self.layout.partitions[scores];
        (name == "eval.scores").then(|| self.layout.find("eval.reports", *partition)).flatten()
    }

    /// The id of a record from outside names its place.
    fn report_id(&self, scores: usize, offset: u64) -> Option<Uuid> {
        let Partition { name, partition, .. } = &self.layout.partitions[self.report_partition(scores)?];
        Some(Uuid::of_record(&format!("{name}/{partition}"), offset))
    }

    fn report(&self, id: Uuid, from: &GraphNode) -> Result<Option<GraphNode>, RuntimeError> {
        let Some(at) = self.report_partition(from.partition) else { return Ok(None) };
        let partition = &self.layout.partitions[at];
        let Some(offset) = ScoreUpdated::decode(&from.payload).map(|score| score.offset) else { return Ok(None) };
        if offset < self.store.start(partition) {
            return Ok(None);
        }
        let mut records = self.store.read(partition, offset);
        let Some((offset, frame)) = records.next()? else { return Ok(None) };
        let node =
            |kind| GraphNode { id, kind, partition: at, offset, time: frame.time, payload: frame.payload.to_vec(), parents: Vec::new() };
        Ok(frame.kind().map(node))
    }
}

/// A record that was found: offset, type, timestamp, encoding, number of its stream.
type Found = (u64, Kind, EventTime, Vec<u8>, u32);

/// Finds a record in a partition along which a number of its records rises.
pub(crate) fn search(
    store: &Store,
    partition: &Partition,
    number: impl Fn(&merit_runtime::frame::Frame<'_>) -> u64,
    wanted: u64,
) -> Result<Option<Found>, RuntimeError> {
    let (mut low, mut high) = (store.start(partition), store.end(partition)?);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut records = store.read(partition, middle);
        let Some((offset, frame)) = records.next()? else { return Ok(None) };
        match number(&frame).cmp(&wanted) {
            std::cmp::Ordering::Equal => {
                let Some(kind) = frame.kind() else { return Ok(None) };
                return Ok(Some((offset, kind, frame.time, frame.payload.to_vec(), frame.stream)));
            }
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Ok(None)
}
