//! Drives score-window as the runtime does.

use crate::ScoreWindow;
use merit_core::processor::{Configuration, DynProcessor};
use merit_core::record::{Metric, ReportAccepted, ScoreUpdated, Tick};
use merit_core::settings::Settings;
use merit_core::table::RowMap;
use merit_core::{Digest, EventTime, Fault, Fixed, Head, Key, Kind, List, Payload, Record, Sink, Uuid};
use std::string::String;
use std::vec::Vec;

/// A record that score-window emitted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Emitted {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub key: String,
    pub time: EventTime,
}

impl Emitted {
    pub(super) fn read<R>(&self, then: impl FnOnce(Payload<'_>) -> R) -> R {
        Payload::decode(self.kind, &self.bytes, then).expect("canonical")
    }
}

#[derive(Default)]
struct Tray(Vec<Emitted>);

impl Sink for Tray {
    fn emit(&mut self, key: Key<'_>, time: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let mut bytes = Vec::new();
        payload.put(&mut bytes);
        self.0.push(Emitted { kind: payload.kind(), bytes, key: key.name.into(), time });
        Ok(0)
    }
    fn next_sequence(&self) -> u64 {
        0
    }
    fn id(&self, _: u64) -> Uuid {
        Uuid([0; 16])
    }
    fn id_of(&self, _: &Head<'_>) -> Option<Uuid> {
        None
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

/// A report of an agent in the division `default`, received when it was measured.
pub(super) fn report<'a>(agent_id: &'a str, timestamp: i64, metrics: &'a [Metric<'a>]) -> ReportAccepted<'a> {
    ReportAccepted {
        report_id: "r",
        agent_id,
        division_id: "default",
        product_id: None,
        metrics: List::Slice(metrics),
        source: "probe",
        timestamp: EventTime(timestamp),
        received_at: EventTime(timestamp),
        window: "1h",
        offset: 7,
    }
}

/// One metric that is 0.93.
pub(super) const QUALITY: &[Metric<'static>] = &[Metric { name: "quality", value: Fixed(930_000) }];

/// Partition 3 of score-window.
pub(super) struct Bench {
    processor: ScoreWindow,
    settings: Vec<(String, String)>,
    /// What went to divisions and products, which tests of scores do not look at.
    pub deltas: Vec<Emitted>,
    pub rows: RowMap,
}

impl Bench {
    /// With parameters like `"event-time.grace=10m"`.
    pub(super) fn new(settings: &[&str]) -> Bench {
        let settings = settings.iter().filter_map(|entry| entry.split_once('=')).map(|(path, value)| (path.into(), value.into()));
        let (processor, settings) = (ScoreWindow::default(), settings.collect());
        let mut bench = Bench { processor, settings, deltas: Vec::new(), rows: RowMap::default() };
        bench.configure();
        bench
    }

    fn configure(&mut self) {
        let settings: Settings = self.settings.iter().cloned().collect();
        assert_eq!(self.processor.check(&settings), []);
        let (origin, emitter) = ("merit.example/audit".into(), ("key".into(), [0; 32]));
        let configuration = Configuration { settings, partition: 3, partitions: 4, origin, emitter, epoch: 0 };
        DynProcessor::configure(&mut self.processor, &configuration).expect("configured");
    }

    fn take<'a>(&mut self, key: &str, time: EventTime, payload: impl Into<Payload<'a>>) -> Vec<Emitted> {
        let head = Head { key: Key::new(key), time, stream: 0, sequence: 0, offset: 7, hops: 0, sent: None, headers: None };
        let mut tray = Tray::default();
        DynProcessor::step(&mut self.processor, &Record { head, payload: payload.into() }, &mut tray).expect("no fault");
        let (deltas, others) = tray.0.into_iter().partition(|record| record.kind == Kind::AggregateDelta);
        self.deltas.extend::<Vec<_>>(deltas);
        others
    }

    pub(super) fn report(&mut self, report: ReportAccepted<'_>) -> Vec<Emitted> {
        self.take(report.agent_id, report.timestamp, &report)
    }

    pub(super) fn tick(&mut self, time: i64) -> Vec<Emitted> {
        self.take("", EventTime(time), &Tick { time: EventTime(time) })
    }

    /// Takes a report that counts, and shows its score.
    #[track_caller]
    pub(super) fn score<R>(&mut self, accepted: ReportAccepted<'_>, then: impl FnOnce(&ScoreUpdated<'_>) -> R) -> R {
        self.report(accepted)[0].read(|payload| {
            let Payload::ScoreUpdated(score) = payload else { panic!("{payload:?}") };
            then(score)
        })
    }

    /// Writes every changed row.
    pub(super) fn checkpoint(&mut self) {
        self.rows.checkpoint_and_evict(&mut self.processor);
    }

    /// Writes a checkpoint, forgets everything, and reads it back.
    pub(super) fn reload(&mut self) {
        self.checkpoint();
        self.processor = ScoreWindow::default();
        self.rows.restore(&mut self.processor).expect("readable");
        self.configure();
    }
}
