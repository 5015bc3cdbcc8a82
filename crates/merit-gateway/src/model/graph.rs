//! Which decision rests on which record.

use super::fold::{Folded, Ids};
use super::key::{Key, Table, last_id};
use super::row::RecordRow;
use merit_core::record::ScoreUpdated;
use merit_core::{Datum, EventTime, Kind, Payload, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::frame::Frame;
use merit_runtime::layout::{Layout, Partition};
use merit_runtime::store::Store;
use merit_runtime::tables::{Changes, Direction, Tables};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

/// The most nodes that one graph shows.
const MOST_NODES: usize = 256;

pub(super) fn fold(record: &Folded<'_>, rows: &mut Changes<'_>) {
    if !Kind::DECISIONS.contains(record.kind) {
        return;
    }
    let id = record.id();
    rows.put(&Key::of(Table::Node).id(id).end(), &record.row());
    for parent in parents(record.kind, record.frame.payload) {
        rows.mark(&Key::of(Table::Child).id(parent).id(id).end());
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
    /// The records before and behind a decision, each behind those that it rests on; none where there is no such decision.
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
        Ok(Some(in_order(nodes)))
    }

    /// The score of the report at an offset of its partition, by id and encoding; none for a report that came too late.
    pub fn score_of_report(&self, agent_id: &str, offset: u64) -> Result<Option<(Uuid, Vec<u8>)>, RuntimeError> {
        let Some(partitions) = self.layout.all_of("eval.scores") else { return Ok(None) };
        let at = partitions.start + merit_core::Key::new(agent_id).partition(partitions.len() as u32) as usize;
        let of_report = |frame: &Frame<'_>| ScoreUpdated::decode(frame.payload).map_or(0, |score| score.offset);
        let found = search(self.store, &self.layout.partitions[at], of_report, offset)?;
        Ok(found.map(|found| (self.ids.of(found.stream, found.sequence), found.payload)))
    }

    /// The decisions that rest on a record.
    pub fn resting_on(&self, id: Uuid) -> Result<Vec<GraphNode>, RuntimeError> {
        let children = self.children(id)?;
        children.into_iter().filter_map(|child| self.decision(child).transpose()).collect()
    }

    fn neighbours(&self, node: &GraphNode) -> Result<Vec<Uuid>, RuntimeError> {
        let mut ids = node.parents.clone();
        ids.extend(self.children(node.id)?);
        Ok(ids)
    }

    fn children(&self, id: Uuid) -> Result<Vec<Uuid>, RuntimeError> {
        let mut ids = Vec::new();
        self.tables.under(&Key::of(Table::Child).id(id).end(), None, Direction::Forward, |key, _| {
            ids.extend(last_id(key));
            if ids.len() < MOST_NODES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
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
        let Some(Found { offset, kind, time, payload, stream, sequence }) = found else { return Ok(None) };
        if self.ids.of(stream, sequence) != id {
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

/// Each node behind those that it rests on, in the order of their places else.
fn in_order(mut left: BTreeMap<Uuid, GraphNode>) -> Vec<GraphNode> {
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let rests_on_none = |node: &&GraphNode| node.parents.iter().all(|parent| !left.contains_key(parent));
        let next = left.values().filter(rests_on_none).min_by_key(|node| (node.partition, node.offset));
        // A record cannot rest on one that comes behind it; a log in which it does is shown all the same.
        let Some(id) = next.or(left.values().next()).map(|node| node.id) else { break };
        ordered.extend(left.remove(&id));
    }
    ordered
}

/// A record that was found in a partition.
struct Found {
    offset: u64,
    kind: Kind,
    time: EventTime,
    payload: Vec<u8>,
    stream: u32,
    sequence: u64,
}

/// Finds a record in a partition along which a number of its records rises.
fn search(store: &Store, partition: &Partition, number: impl Fn(&Frame<'_>) -> u64, wanted: u64) -> Result<Option<Found>, RuntimeError> {
    let (mut low, mut high) = (store.start(partition), store.end(partition)?);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut records = store.read(partition, middle);
        let Some((offset, frame)) = records.next()? else { return Ok(None) };
        match number(&frame).cmp(&wanted) {
            std::cmp::Ordering::Equal => {
                let Some(kind) = frame.kind() else { return Ok(None) };
                let Frame { time, payload, stream, sequence, .. } = frame;
                return Ok(Some(Found { offset, kind, time, payload: payload.to_vec(), stream, sequence }));
            }
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Ok(None)
}
