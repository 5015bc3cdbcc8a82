//! Tests of the way from reports to the scores of divisions and products.
#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

use crate::panes::MAX_METRICS;
use crate::state::WINDOWS;
use crate::{AggregateWindow, ScoreWindow};
use merit_core::fixed::divide_rounded;
use merit_core::processor::{Configuration, DynProcessor};
use merit_core::profile::MAX_METRIC;
use merit_core::record::{AggregateDelta, Metric, MetricSum, Progress, ReportAccepted, ReportLate, ScoreUpdated, Tick};
use merit_core::table::RowMap;
use merit_core::{Datum, Digest, Duration, EventTime, Fault, Fixed, Head, Key, Kind, List, Payload, Record, Settings, Sink, Uuid};
use std::borrow::ToOwned;
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

// ---- a processor with a tray for what it emits ----

#[derive(Clone, Debug, PartialEq)]
struct Emitted {
    partition: u32,
    key: String,
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Tray {
    partition: u32,
    emitted: Vec<Emitted>,
}

impl Sink for Tray {
    fn emit(&mut self, key: Key<'_>, _: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let mut bytes = Vec::new();
        payload.put(&mut bytes);
        self.emitted.push(Emitted { partition: self.partition, key: key.name.into(), kind: payload.kind(), bytes });
        Ok(self.next_sequence() - 1)
    }
    fn next_sequence(&self) -> u64 {
        self.emitted.len() as u64
    }
    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record("tray", sequence)
    }
    fn id_of(&self, _: &Head<'_>) -> Option<Uuid> {
        None
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

struct Bench {
    make: fn() -> Box<dyn DynProcessor>,
    processor: Box<dyn DynProcessor>,
    partitions: u32,
    tray: Tray,
    rows: RowMap,
}

impl Bench {
    fn new<P: DynProcessor + Default + 'static>(partition: u32, partitions: u32) -> Bench {
        let make = || -> Box<dyn DynProcessor> { Box::<P>::default() };
        let mut bench = Bench { make, processor: make(), partitions, tray: Tray { partition, ..Tray::default() }, rows: RowMap::default() };
        bench.configure();
        bench
    }

    fn configure(&mut self) {
        let configuration = Configuration {
            settings: Settings::default(),
            partition: self.tray.partition,
            partitions: self.partitions,
            origin: String::new(),
            emitter: (String::new(), [0; 32]),
            epoch: 0,
        };
        self.processor.configure(&configuration).unwrap();
    }

    fn step(&mut self, key: &str, payload: Payload<'_>) {
        let head = Head { key: Key::new(key), time: EventTime(0), stream: 0, sequence: 0, offset: 0, hops: 0, sent: None, headers: None };
        self.processor.step(&Record { head, payload }, &mut self.tray).unwrap();
    }

    /// Checkpoints, and goes on with a new processor that knows the rows alone.
    fn reopen(&mut self) {
        self.rows.checkpoint_and_evict(&mut *self.processor);
        self.processor = (self.make)();
        self.rows.restore(&mut *self.processor).unwrap();
        self.configure();
    }
}

// ---- reports on two partitions, and what is scored of them ----

#[derive(Clone, Debug)]
struct Report {
    id: String,
    partition: u32,
    agent: &'static str,
    division: &'static str,
    product: Option<&'static str>,
    time: i64,
    metrics: Vec<(&'static str, i64)>,
}

impl Report {
    fn aggregates(&self) -> impl Iterator<Item = String> {
        [Some(format!("division:{}", self.division)), self.product.map(|product| format!("product:{product}"))].into_iter().flatten()
    }

    fn observation(&self) -> i64 {
        let parts = self.metrics.iter().map(|(_, value)| divide_rounded((*value).into(), self.metrics.len() as i128));
        parts.sum::<i128>() as i64
    }
}

/// Two agents of one division on two partitions, and a third of another; one in ten reports is up to 15 min old, so some are late.
fn reports(count: u64) -> Vec<Report> {
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut now = 1_700_000_000_000;
    let report = |at: u64| {
        let (partition, agent, division, product, names) = [
            (0, "a", "research", Some("search"), ["quality", "latency"]),
            (1, "b", "research", None, ["quality", "cost"]),
            (1, "c", "sales", Some("search"), ["cost", "calls"]),
        ][random(3) as usize];
        now += random(240_000) as i64;
        let old = if random(10) == 0 { random(900_000) as i64 } else { 0 };
        let metrics = names.map(|name| (name, random(1_000_001) as i64));
        let metrics = metrics[..1 + random(2) as usize].to_vec();
        Report { id: format!("r{at}"), partition, agent, division, product, time: now - old, metrics }
    };
    (0..count).map(report).collect()
}

fn accept(bench: &mut Bench, report: &Report) {
    let metrics: Vec<Metric<'_>> = report.metrics.iter().map(|(name, value)| Metric { name, value: Fixed(*value) }).collect();
    let accepted = ReportAccepted {
        report_id: &report.id,
        agent_id: report.agent,
        division_id: report.division,
        product_id: report.product,
        metrics: List::Slice(&metrics),
        source: "test",
        timestamp: EventTime(report.time),
        received_at: EventTime(report.time),
        window: "1h",
        offset: 0,
    };
    bench.step(report.agent, Payload::ReportAccepted(&accepted));
}

/// What two partitions write to `eval.aggregates`, in the order of the reports, and the ids of late reports.
fn first_phase(reports: &[Report], reopen_every: usize) -> (Vec<Emitted>, BTreeSet<String>) {
    let mut benches = [0, 1].map(|partition| Bench::new::<ScoreWindow>(partition, 2));
    let (mut log, mut late) = (Vec::new(), BTreeSet::new());
    let newest = reports.iter().map(|report| report.time).max().unwrap_or_default();
    for (at, report) in reports.iter().enumerate() {
        let bench = &mut benches[report.partition as usize];
        accept(bench, report);
        if at % reopen_every == reopen_every - 1 {
            bench.reopen();
        }
        take(bench, &mut log, &mut late);
    }
    for bench in &mut benches {
        bench.step("tick", Payload::Tick(&Tick { time: EventTime(newest) }));
        take(bench, &mut log, &mut late);
    }
    (log, late)
}

fn take(bench: &mut Bench, log: &mut Vec<Emitted>, late: &mut BTreeSet<String>) {
    for emitted in bench.tray.emitted.drain(..) {
        match emitted.kind {
            Kind::AggregateDelta | Kind::Progress => log.push(emitted),
            Kind::ReportLate => drop(late.insert(ReportLate::decode(&emitted.bytes).unwrap().report_id.to_owned())),
            _ => {}
        }
    }
}

fn second_phase(log: &[Emitted], partitions: u32, reopen_every: usize) -> Vec<Emitted> {
    let mut bench = Bench::new::<AggregateWindow>(0, partitions);
    for (at, emitted) in log.iter().enumerate() {
        Payload::decode(emitted.kind, &emitted.bytes, |payload| bench.step(&emitted.key, payload)).unwrap();
        if at % reopen_every == reopen_every - 1 {
            bench.reopen();
        }
    }
    bench.tray.emitted
}

const NEVER: usize = usize::MAX;

fn minute(time: i64) -> i64 {
    EventTime(time).pane(Duration::MINUTE)
}

// ---- claims ----

#[test]
fn an_aggregates_windows_are_those_of_all_its_reports() {
    let reports = reports(3_000);
    let (log, late) = first_phase(&reports, NEVER);
    let scores = second_phase(&log, 2, NEVER);
    assert!(!late.is_empty());
    let mut before: BTreeMap<String, i64> = BTreeMap::new();
    for emitted in &scores {
        let score = ScoreUpdated::decode(&emitted.bytes).unwrap();
        let own = |report: &&Report| report.aggregates().any(|id| id == score.agent_id) && !late.contains(&report.id);
        let folded: Vec<&Report> = reports.iter().filter(own).filter(|report| minute(report.time) <= minute(score.timestamp.0)).collect();
        let from = before.insert(score.agent_id.to_owned(), minute(score.timestamp.0)).unwrap_or(i64::MIN);
        check_step(
            &score,
            &folded.iter().filter(|report| from < minute(report.time)).map(|report| report.observation()).collect::<Vec<_>>(),
        );
        for (at, window) in WINDOWS.iter().enumerate() {
            let first = score.timestamp.pane(window.width) - window.panes + 1;
            let inside: Vec<&Report> = folded.iter().copied().filter(|report| first <= EventTime(report.time).pane(window.width)).collect();
            check_window(&score, at, &inside);
        }
    }
    let last = |id: &str| {
        minute(reports.iter().filter(|report| report.aggregates().any(|own| own == id)).map(|report| report.time).max().unwrap())
    };
    // All but the last ten minutes, which are still open.
    assert_eq!(before.keys().collect::<Vec<_>>(), ["division:research", "division:sales", "product:search"]);
    for (id, folded) in before {
        assert!(last(&id) - folded < 30, "{id}");
    }
}

fn check_step(score: &ScoreUpdated<'_>, observations: &[i64]) {
    let mean = divide_rounded(observations.iter().map(|value| i128::from(*value)).sum(), observations.len() as i128);
    assert_eq!(i128::from(score.observation.0), mean, "{score:?}");
}

fn check_window(score: &ScoreUpdated<'_>, at: usize, reports: &[&Report]) {
    let window = score.windows.iter().nth(at).unwrap();
    let mut sums: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
    for (name, value) in reports.iter().flat_map(|report| &report.metrics) {
        let sum = sums.entry(name).or_default();
        *sum = (sum.0 + i128::from(*value), sum.1 + 1);
    }
    let means: BTreeMap<&str, i128> = sums.into_iter().map(|(name, (sum, count))| (name, divide_rounded(sum, count))).collect();
    let shown = score.metrics.iter().zip(window.components).filter_map(|(name, part)| Some((name, i128::from(part?.value.0))));
    assert_eq!(shown.collect::<BTreeMap<_, _>>(), means, "{}", window.name);
    let raw: i128 = means.values().map(|mean| divide_rounded(*mean, means.len() as i128)).sum();
    assert_eq!((i128::from(window.raw_score.0), window.n), (raw, reports.len() as u64), "{}", window.name);
    let observations: Vec<i128> = reports.iter().map(|report| report.observation().into()).collect();
    let n = observations.len() as i128;
    let error = (n > 1).then(|| {
        let spread = n * observations.iter().map(|x| x * x).sum::<i128>() - observations.iter().sum::<i128>().pow(2);
        (spread / (n * n * (n - 1))).isqrt() as i64
    });
    assert_eq!(window.standard_error.map(|error| error.0), error, "{}", window.name);
}

#[test]
fn a_progress_promises_every_delta_before_its_watermark() {
    let (log, _) = first_phase(&reports(3_000), NEVER);
    let mut promised = [i64::MIN; 2];
    for emitted in &log {
        let promised = &mut promised[emitted.partition as usize];
        match emitted.kind {
            Kind::Progress => *promised = Progress::decode(&emitted.bytes).unwrap().watermark.pane(Duration::MINUTE),
            _ => assert!(*promised <= AggregateDelta::decode(&emitted.bytes).unwrap().timestamp.pane(Duration::MINUTE)),
        }
    }
    assert!(log.iter().filter(|emitted| emitted.kind == Kind::Progress).count() > 50);
}

#[test]
fn scores_do_not_depend_on_the_order_of_deltas_between_two_steps() {
    let (log, _) = first_phase(&reports(1_000), NEVER);
    let mut turned = log.clone();
    turned.chunk_by_mut(|left, right| (left.kind, right.kind) == (Kind::AggregateDelta, Kind::AggregateDelta)).for_each(<[_]>::reverse);
    assert_ne!(turned, log);
    assert_eq!(second_phase(&turned, 2, NEVER), second_phase(&log, 2, NEVER));
}

#[test]
fn a_restored_processor_goes_on_as_if_nothing_was() {
    let reports = reports(1_000);
    let (log, late) = first_phase(&reports, NEVER);
    assert_eq!(first_phase(&reports, 7), (log.clone(), late));
    assert_eq!(second_phase(&log, 2, 7), second_phase(&log, 2, NEVER));
}

#[test]
fn time_does_not_go_back_from_score_to_score() {
    let (log, _) = first_phase(&reports(1_000), NEVER);
    let scores = second_phase(&log, 2, NEVER);
    assert!(scores.iter().map(|emitted| ScoreUpdated::decode(&emitted.bytes).unwrap().timestamp).is_sorted());
}

// ---- single deltas ----

fn delta(minute: i64, aggregate_id: &str, n: u64, metrics: &[(&str, i64)]) -> Emitted {
    let metrics: Vec<MetricSum<'_>> = metrics.iter().map(|(name, sum)| MetricSum { name, sum: Fixed(*sum), count: 1 }).collect();
    let delta = AggregateDelta {
        aggregate_id,
        timestamp: EventTime(minute * 60_000),
        n,
        observations: Fixed(500_000 * n as i64),
        squares: 250_000_000_000 * n,
        metrics: List::Slice(&metrics),
    };
    let mut bytes = Vec::new();
    delta.put(&mut bytes);
    Emitted { partition: 0, key: aggregate_id.into(), kind: Kind::AggregateDelta, bytes }
}

fn progress(partition: u32, minute: i64) -> Emitted {
    let mut bytes = Vec::new();
    Progress { partition, watermark: EventTime(minute * 60_000) }.put(&mut bytes);
    Emitted { partition, key: String::new(), kind: Kind::Progress, bytes }
}

/// What was scored: aggregate, minute, reports in the hour.
fn folded(log: &[Emitted], partitions: u32) -> Vec<(String, i64, u64)> {
    let shown = |emitted: &Emitted| {
        let score = ScoreUpdated::decode(&emitted.bytes).unwrap();
        (score.agent_id.to_owned(), score.timestamp.pane(Duration::MINUTE), score.windows.iter().next().unwrap().n)
    };
    second_phase(log, partitions, NEVER).iter().map(shown).collect()
}

fn row(aggregate: &str, minute: i64, n: u64) -> (String, i64, u64) {
    (aggregate.into(), minute, n)
}

#[test]
fn a_minute_is_folded_when_the_lowest_progress_has_passed_it() {
    let two = [delta(7, "division:x", 2, &[]), delta(7, "division:x", 3, &[])];
    let with = |progress: &[Emitted]| [&two[..], progress].concat();
    for (log, expected) in [
        (with(&[progress(0, 8)]), vec![]), // partition 1 was not heard of
        (with(&[progress(0, 8), progress(1, 7)]), vec![]),
        (with(&[progress(0, 8), progress(1, 8)]), vec![row("division:x", 7, 5)]),
        (with(&[progress(0, 8), progress(1, 9), progress(0, 9)]), vec![row("division:x", 7, 5)]), // and once
    ] {
        assert_eq!(folded(&log, 2), expected);
    }
}

#[test]
fn a_step_scores_each_aggregate_once_by_minute_and_id() {
    let log = [
        delta(9, "division:x", 1, &[]),
        delta(8, "product:b", 1, &[]),
        delta(8, "division:z", 1, &[]),
        delta(7, "division:x", 1, &[]),
        delta(10, "division:x", 1, &[]),
        progress(0, 10),
    ];
    assert_eq!(folded(&log, 1), [row("division:z", 8, 1), row("product:b", 8, 1), row("division:x", 9, 2)]);
}

#[test]
fn an_aggregate_knows_the_first_16_names_in_any_order_of_deltas() {
    let names: Vec<String> = (0..20).map(|at| format!("m{at:02}")).collect();
    let single: Vec<Emitted> = names.iter().map(|name| delta(1, "division:x", 1, &[(name, 1_000_000)])).collect();
    let turned: Vec<Emitted> = single.iter().rev().cloned().collect();
    for deltas in [single, turned] {
        let scores = second_phase(&[&deltas[..], &[progress(0, 2)]].concat(), 1, NEVER);
        let score = ScoreUpdated::decode(&scores[0].bytes).unwrap();
        assert_eq!(score.metrics.iter().collect::<Vec<_>>(), names[..MAX_METRICS]);
        assert_eq!(score.windows.iter().next().unwrap().n, 20);
    }
}

/// Each sums 4,096 of the largest values; together they are more than 65 bits hold, of both signs.
#[test]
fn deltas_of_one_minute_may_sum_to_more_than_each_can() {
    let most = MAX_METRIC.0 * 4_096;
    // Reopened when the minute, and when the pane, is wider.
    for (most, reopen_every) in [(most, 9_000), (-most, 9_000), (most, 10_001), (-most, 10_001)] {
        let mut log = vec![delta(1, "division:x", 1, &[("far", most)]); 10_000];
        assert!((i128::from(most) * log.len() as i128).unsigned_abs() >> 65 > 0);
        log.extend([progress(0, 2), delta(2, "division:x", 1, &[("far", most)]), progress(0, 3)]);
        let scores = second_phase(&log, 1, reopen_every);
        assert_eq!(scores.len(), 2);
        for score in scores.iter().map(|emitted| ScoreUpdated::decode(&emitted.bytes).unwrap()) {
            for window in score.windows {
                assert_eq!(window.components.iter().next().unwrap().unwrap().value, Fixed(most));
            }
        }
    }
}

#[test]
fn deltas_leave_by_minute_count_and_tick() {
    let mut bench = Bench::new::<ScoreWindow>(0, 1);
    let report = |seconds: i64| Report {
        id: String::new(),
        partition: 0,
        agent: "a",
        division: "x",
        product: Some("p"),
        time: 1_700_000_040_000 + seconds * 1_000,
        metrics: vec![("quality", 1_000_000)],
    };
    let deltas = |bench: &mut Bench| -> Vec<(String, i64, u64, u64)> {
        let deltas = bench.tray.emitted.drain(..).filter(|emitted| emitted.kind == Kind::AggregateDelta);
        let shown = |emitted: Emitted| {
            let delta = AggregateDelta::decode(&emitted.bytes).unwrap();
            (emitted.key, delta.timestamp.0 / 60_000 - 28_333_334, delta.n, delta.squares)
        };
        deltas.map(shown).collect()
    };
    let both = |minute: i64, n: u64| ["division:x", "product:p"].map(|id| (id.to_owned(), minute, n, n * 1_000_000_000_000));
    accept(&mut bench, &report(0));
    assert_eq!(deltas(&mut bench), both(0, 1)); // the first watermark
    (0..4_095).for_each(|_| accept(&mut bench, &report(59)));
    assert_eq!(deltas(&mut bench), []);
    accept(&mut bench, &report(59));
    assert_eq!(deltas(&mut bench), both(0, 4_096));
    accept(&mut bench, &report(1));
    accept(&mut bench, &report(60));
    assert_eq!(deltas(&mut bench), [both(0, 1), both(1, 1)].concat());
    accept(&mut bench, &report(61));
    bench.step("tick", Payload::Tick(&Tick { time: EventTime(0) }));
    assert_eq!(deltas(&mut bench), both(1, 1));
}
