//! What verification reads beside the leaves: whose log it is, which stream wrote where, and what was read and published.

use super::rule;
use crate::decisions::{Published, Record, corrupt, kind_of};
use merit_audit::{AuditFault, EmitterKey, Running};
use merit_core::record::{ConfigEpoch, StreamSeal};
use merit_core::{Code, Datum, Kind};
use merit_runtime::RuntimeError;
use merit_runtime::layout::Layout;
use merit_runtime::store::{Cursor, Store};
use std::collections::BTreeSet;

/// Why a log was not verified.
#[derive(Debug)]
pub(super) enum Broken {
    /// A leaf, or a record that belongs to one.
    Fault(AuditFault),
    /// The store, or a record that cannot be read.
    Store(RuntimeError),
}

impl From<AuditFault> for Broken {
    fn from(fault: AuditFault) -> Broken {
        Broken::Fault(fault)
    }
}

impl From<RuntimeError> for Broken {
    fn from(error: RuntimeError) -> Broken {
        Broken::Store(error)
    }
}

pub(super) fn fault(stream: &str, sequence: u64, index: u64, rule: &'static Code, detail: impl Into<String>) -> Broken {
    Broken::Fault(AuditFault { stream: stream.into(), sequence, index, rule, detail: detail.into() })
}

/// What the first record of a log says.
pub(super) struct Genesis {
    pub(super) origin: String,
    pub(super) key_name: String,
    pub(super) public: [u8; 32],
}

impl Genesis {
    pub(super) fn read(store: &Store, layout: &Layout) -> Result<Genesis, Broken> {
        let first = layout.genesis();
        let mut records = store.records(first);
        let frame = records.next()?.map(|(_, frame)| frame).filter(|frame| frame.kind() == Some(Kind::ConfigEpoch));
        let read = frame.and_then(|frame| {
            let epoch = ConfigEpoch::decode(frame.payload)?;
            Some(Genesis { origin: epoch.origin.into(), key_name: epoch.key_name.into(), public: epoch.emitter_key })
        });
        let place = format!("{}/{}", first.name, first.partition);
        read.ok_or_else(|| fault(&place, 0, 0, rule::ORIGIN, "it does not begin with a ConfigEpoch, so nothing says whose log this is"))
    }

    pub(super) fn key(&self) -> Result<EmitterKey, Broken> {
        EmitterKey::new(&self.key_name, &self.public).map_err(|no_key| fault(&self.origin, 0, 0, rule::ORIGIN, no_key.to_string()))
    }
}

/// What one pass over all topics shows.
pub(super) struct Census {
    /// Partitions that hold records of a stream, by its number.
    pub(super) partitions: Vec<BTreeSet<usize>>,
    /// ConfigEpochs in input partitions: partition and offset.
    pub(super) epochs: BTreeSet<(usize, u64)>,
    /// Records of each partition, those that were pruned included.
    pub(super) records: Vec<u64>,
}

impl Census {
    /// `streams` is their number.
    pub(super) fn take(store: &Store, layout: &Layout, streams: usize) -> Result<Census, RuntimeError> {
        let records = layout.partitions.iter().map(|partition| store.start(partition)).collect();
        let mut census = Census { partitions: vec![BTreeSet::new(); streams], epochs: BTreeSet::new(), records };
        for (at, partition) in layout.partitions.iter().enumerate() {
            let mut records = store.records(partition);
            while let Some((offset, frame)) = records.next()? {
                let kind = kind_of(partition, offset, &frame)?;
                census.records[at] += 1;
                match (frame.is_outside(), census.partitions.get_mut(frame.stream as usize)) {
                    (true, _) if kind == Kind::ConfigEpoch => drop(census.epochs.insert((at, offset))),
                    (true, _) => {}
                    (false, Some(partitions)) => drop(partitions.insert(at)),
                    (false, None) => return Err(corrupt(partition, offset, format!("no stream has number {}", frame.stream))),
                }
            }
        }
        Ok(census)
    }
}

/// What a task read, as far as it is covered.
pub(super) struct Inputs<'s> {
    pub(super) cursor: Cursor<'s>,
    pub(super) running: Running,
    pub(super) to: u64,
    /// The first offset that is left.
    pub(super) start: u64,
    pub(super) seals: u64,
    /// Records that seals cover.
    pub(super) covered: u64,
}

impl Inputs<'_> {
    /// Begins with the ConfigEpoch of a lineage; no seal will cover what lies between the last one and that.
    pub(super) fn begin(&mut self, offset: u64) {
        self.cursor.pass(offset);
        (self.running, self.to) = (Running::default(), offset);
    }

    /// Takes a seal's word for records of which some were pruned, and goes on behind them.
    pub(super) fn believe(&mut self, seal: &StreamSeal<'_>) {
        self.cursor.pass(seal.to_offset);
        self.covered += seal.to_offset - self.to;
        (self.running, self.to) = (Running::after(&seal.inputs), seal.to_offset);
        self.seals += 1;
    }

    /// Goes on to an offset; whether the records up to there give that digest.
    pub(super) fn cover(&mut self, seal: &StreamSeal<'_>) -> Result<bool, RuntimeError> {
        while self.to < seal.to_offset {
            let Some((offset, frame)) = self.cursor.next()? else { return Ok(false) };
            self.running.update(frame.kind as u8, frame.payload);
            self.to = offset + 1;
            self.covered += 1;
        }
        self.seals += 1;
        Ok(self.running.seal() == seal.inputs)
    }
}

/// What a stream published, as far as leaves and seals speak of it.
pub(super) struct Outputs<'s> {
    pub(super) name: String,
    pub(super) published: Published<'s>,
    pub(super) running: Running,
    /// Behind the last sequence that a seal covers.
    pub(super) to: u64,
    /// Behind the last sequence that was pruned.
    pub(super) start: u64,
    /// Records that a seal covers, and those behind them.
    pub(super) covered: u64,
    pub(super) open: u64,
}

impl Outputs<'_> {
    pub(super) fn take(&mut self) -> Result<Option<Record>, RuntimeError> {
        let record = self.published.next()?;
        if let Some(record) = &record {
            self.running.update(record.kind as u8, &record.payload);
            self.open += 1;
        }
        Ok(record)
    }

    /// Passes everything before `sequence`; a decision there has no leaf.
    pub(super) fn pass(&mut self, index: u64, sequence: u64) -> Result<(), Broken> {
        while self.published.peek().is_some_and(|record| record.sequence < sequence) {
            let Some(record) = self.take()? else { break };
            if Kind::DECISIONS.contains(record.kind) {
                let detail = format!("the {} of key {:?} has no leaf where one is due", record.kind.name(), record.key);
                return Err(fault(&self.name, record.sequence, index, rule::LEAF_MISSING, detail));
            }
        }
        Ok(())
    }

    /// The record of that sequence.
    pub(super) fn find(&mut self, index: u64, sequence: u64) -> Result<Option<Record>, Broken> {
        self.pass(index, sequence)?;
        match self.published.peek().is_some_and(|record| record.sequence == sequence) {
            true => Ok(self.take()?),
            false => Ok(None),
        }
    }
}
