//! Drives ingest as the runtime does, and writes down what leaves it.

use crate::Ingest;
use crate::state::Counts;
use core::hash::Hasher;
use merit_core::processor::{Configuration, DynProcessor, Sent};
use merit_core::recent::id_digest;
use merit_core::record::*;
use merit_core::settings::Settings;
use merit_core::table::RowMap;
use merit_core::{Datum, Digest, EventTime, Fault, Fixed, Head, Key, Kind, List, Payload, Record, Sink, Uuid};
use std::format;
use std::hash::DefaultHasher;
use std::string::{String, ToString};
use std::vec::Vec;

/// When every report of a test is received, unless it says otherwise.
pub(super) const NOW: EventTime = EventTime(1_737_136_800_000);

const STREAM: &str = "evaluate/ingest/0/aa";

/// A record that ingest emitted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Emitted {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub key: String,
    pub time: EventTime,
    pub id: Uuid,
}

impl Emitted {
    pub(super) fn read<R>(&self, then: impl FnOnce(Payload<'_>) -> R) -> R {
        Payload::decode(self.kind, &self.bytes, then).expect("canonical")
    }
}

#[derive(Default)]
struct Tray {
    emitted: Vec<Emitted>,
    next: u64,
}

impl Sink for Tray {
    fn emit(&mut self, key: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let (sequence, mut bytes) = (self.next, Vec::new());
        payload.put(&mut bytes);
        self.emitted.push(Emitted { kind: payload.kind(), bytes, key: key.name.into(), time, id: self.id(sequence) });
        self.next += 1;
        Ok(sequence)
    }
    fn next_sequence(&self) -> u64 {
        self.next
    }
    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record(STREAM, sequence)
    }
    fn id_of(&self, _: &Head<'_>) -> Option<Uuid> {
        None
    }
    fn fingerprint(&self, kind: Kind) -> Digest {
        [kind as u8; 32]
    }
}

/// One partition of ingest.
pub(super) struct Desk {
    ingest: Ingest,
    tray: Tray,
    partition: u32,
    settings: Vec<(String, String)>,
    pub offset: u64,
    pub rows: RowMap,
}

impl Desk {
    /// Partition 0 of one, with parameters like `"event-time.future=5m"`.
    pub(super) fn new(settings: &[&str]) -> Desk {
        Desk::partition(0, 1, settings)
    }

    pub(super) fn partition(partition: u32, partitions: u32, settings: &[&str]) -> Desk {
        let (ingest, tray) = (Ingest::default(), Tray::default());
        let mut desk = Desk { ingest, tray, partition, settings: Vec::new(), offset: 0, rows: RowMap::default() };
        desk.configure(partitions, settings);
        desk
    }

    /// Takes other parameters; a ring of 4,096 ids unless they say otherwise.
    pub(super) fn configure(&mut self, partitions: u32, settings: &[&str]) {
        self.settings = Vec::from([("ingest.recent_reports".into(), "4096".into()), ("partitions".into(), partitions.to_string())]);
        let given = settings.iter().filter_map(|entry| entry.split_once('='));
        self.settings.extend(given.map(|(path, value)| (path.into(), value.into())));
        self.apply();
    }

    fn apply(&mut self) {
        let settings: Settings = self.settings.iter().cloned().collect();
        let partitions = settings.get("partitions").and_then(|text| text.parse().ok()).expect("a number");
        assert_eq!(self.ingest.check(&settings), []);
        let (origin, emitter) = ("merit.example/audit".into(), ("key".into(), [0; 32]));
        let configuration = Configuration { settings, partition: self.partition, partitions, origin, emitter, epoch: 0 };
        DynProcessor::configure(&mut self.ingest, &configuration).expect("configured");
    }

    /// Takes a record that came at `time` after `hops` times of feedback.
    pub(super) fn take_at<'a>(&mut self, time: EventTime, hops: u8, key: &str, payload: impl Into<Payload<'a>>) -> Vec<Emitted> {
        let (payload, mut bytes) = (payload.into(), Vec::new());
        payload.put(&mut bytes);
        let mut content = DefaultHasher::new();
        content.write(&bytes);
        let id = if let Payload::EvalReport(report) = payload { report.id.map(id_digest) } else { None };
        let sent = Sent { id, content: content.finish() };
        self.offset += 1;
        let head = Head {
            key: Key::new(key),
            time,
            stream: Head::OUTSIDE,
            sequence: 0,
            offset: self.offset,
            hops,
            sent: Some(&sent),
            headers: None,
        };
        DynProcessor::step(&mut self.ingest, &Record { head, payload }, &mut self.tray).expect("no fault");
        core::mem::take(&mut self.tray.emitted)
    }

    pub(super) fn take<'a>(&mut self, key: &str, payload: impl Into<Payload<'a>>) -> Vec<Emitted> {
        self.take_at(NOW, 0, key, payload)
    }

    pub(super) fn report(&mut self, report: EvalReport<'_>) -> Vec<Emitted> {
        self.take(report.agent_id, &report)
    }

    /// Writes every changed row.
    pub(super) fn checkpoint(&mut self) {
        self.rows.checkpoint_and_evict(&mut self.ingest);
    }

    /// Writes a checkpoint, forgets everything, and reads it back.
    pub(super) fn reload(&mut self) {
        self.checkpoint();
        self.ingest = Ingest::default();
        self.rows.restore(&mut self.ingest).expect("readable");
        self.apply();
    }

    /// Inputs by class so far.
    pub(super) fn counts(&mut self) -> Counts {
        self.checkpoint();
        let row = self.rows.0.get(&("ingest-counts".into(), String::new(), 0));
        row.map_or(Counts::default(), |row| Counts::decode(row).expect("canonical"))
    }
}

/// `n` metrics m0, m1, ... of that value.
pub(super) fn metrics(names: &[String], value: Fixed) -> Vec<Metric<'_>> {
    names.iter().map(|name| Metric { name, value }).collect()
}

/// The names m0, m1, ...
pub(super) fn names(n: usize) -> Vec<String> {
    (0..n).map(|number| format!("m{number}")).collect()
}

/// A report of agent ann that breaks no rule.
pub(super) const GOOD: EvalReport<'static> = EvalReport {
    id: None,
    agent_id: "ann",
    division_id: None,
    product_id: None,
    metrics: List::Slice(&[Metric { name: "quality", value: Fixed(930_000) }]),
    source: "probe",
    timestamp: NOW,
    window: None,
    tags: List::EMPTY,
};

/// What was emitted, in a few words a record.
pub(super) fn show(emitted: &[Emitted]) -> String {
    let words = emitted.iter().map(|record| {
        record.read(|payload| match payload {
            Payload::ReportAccepted(r) => {
                let id = if r.report_id == record.id.to_string() { "its own id" } else { r.report_id };
                format!("{} counts for {} {} as {id}", r.agent_id, r.division_id, r.product_id.unwrap_or("-"))
            }
            Payload::ReportDuplicate(r) => format!("{} of {} counted at offset {}", r.report_id, r.agent_id, r.offset),
            Payload::Rejected(r) => format!("rejected {}", r.rule),
            Payload::EvalReport(r) => format!("{} rerouted by {}", r.agent_id, record.key),
            Payload::EntityAssigned(r) => format!("home of {} is {} {}", r.agent_id, r.division_id, r.product_id.unwrap_or("-")),
            other => format!("{:?}", other.kind()),
        })
    });
    words.collect::<Vec<_>>().join(", ")
}
