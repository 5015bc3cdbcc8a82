//! Window scores against a recomputation over the full history, by the definition of design 4 and with no code of score-window.
//!
//! For every score it looks at every earlier report of the entity again: slow, and too plain to be wrong in the same way.

use merit_core::record::{ReportLate, ScoreUpdated};
use merit_core::{Datum, EventTime, Fixed, Kind};
use merit_tests::directory::{Directory, Profile, with_pools};
use merit_tests::dump::{Entry, of_topic};
use merit_tests::random::Random;
use merit_tests::reports::{self, Report, lines, taken};
use merit_tests::{repository, text, write};
use std::collections::{BTreeMap, HashMap, HashSet};

const GRACE: i64 = 10 * 60_000;
const WINDOWS: [(&str, i64, i64); 3] = [("1h", 60_000, 60), ("24h", 15 * 60_000, 96), ("7d", 2 * 3_600_000, 84)];

/// How a metric counts, in whole numbers.
#[derive(Clone, Copy)]
struct Rule {
    weight: i128,
    from: i128,
    to: i128,
    invert: bool,
}

const PLAIN: Rule = Rule { weight: 1, from: 0, to: 1, invert: false };

type Rules = &'static [(&'static str, Rule)];

/// A score as the definition gives it, in units of 1e-6.
#[derive(Debug, PartialEq)]
struct Window {
    raw: i128,
    score: i128,
    reports: u64,
    /// Mean and contribution a metric; none without a value.
    components: Vec<Option<(i128, i128)>>,
}

fn round(numerator: i128, denominator: i128) -> i128 {
    let (magnitude, sign) = (numerator.abs(), numerator.signum());
    sign * ((2 * magnitude + denominator) / (2 * denominator))
}

fn rule_of(rules: Rules, metric: &str) -> Rule {
    rules.iter().find(|(name, _)| *name == metric).map_or(PLAIN, |(_, rule)| *rule)
}

/// The weighted mean of metrics' means over some reports.
fn weighted_mean(rules: Rules, names: &[String], of: &[&Report]) -> Window {
    let mean = |name: &String| {
        let (rule, metrics) = (rule_of(rules, name), of.iter().flat_map(|report| &report.metrics));
        let values = metrics.filter(|(metric, _)| metric == name).map(|(_, value)| i128::from(value.0));
        let (sum, count) = values.fold((0, 0), |(sum, count), value| (sum + value, count + 1));
        let above = if rule.invert { count * rule.to * 1_000_000 - sum } else { sum - count * rule.from * 1_000_000 };
        (count > 0).then(|| (round(above, count * (rule.to - rule.from)), rule.weight))
    };
    let means: Vec<Option<(i128, i128)>> = names.iter().map(mean).collect();
    let present: i128 = means.iter().flatten().map(|(_, weight)| weight).sum();
    let components: Vec<Option<(i128, i128)>> =
        means.iter().map(|mean| mean.map(|(mean, weight)| (mean, round(mean * weight, present)))).collect();
    let raw = components.iter().flatten().map(|(_, contribution)| contribution).sum();
    Window { raw, score: round(raw, 10_000) * 10_000, reports: of.len() as u64, components }
}

/// What one entity was told so far.
#[derive(Default)]
struct History {
    reports: Vec<Report>,
    /// Each report's own weighted mean.
    observations: Vec<i128>,
    /// Metrics in the order in which they first appeared.
    names: Vec<String>,
}

impl History {
    fn add(&mut self, rules: Rules, report: Report) {
        for (name, _) in &report.metrics {
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
        self.observations.push(weighted_mean(rules, &self.names, &[&report]).raw);
        self.reports.push(report);
    }

    /// Places of the reports in the panes of a window that ends in the pane of the newest report.
    fn window(&self, width: i64, panes: i64) -> Vec<usize> {
        let newest = self.reports.iter().map(|report| report.time.0.div_euclid(width)).max().unwrap_or(0);
        (0..self.reports.len()).filter(|at| self.reports[*at].time.0.div_euclid(width) > newest - panes).collect()
    }
}

/// What the definition expects of a log.
#[derive(Default)]
struct Counts {
    scored: usize,
    late: usize,
    duplicate: usize,
    behind_the_newest: usize,
}

/// Goes through a partition's log and compares each score and each late report.
fn check_partition(rules: Rules, dump: &[Entry], partition: u32, counts: &mut Counts) {
    let of = |topic: &'static str| of_topic(dump, topic).filter(move |entry| entry.partition == partition);
    let mut scores = of("eval.scores");
    let mut late = of("eval.late");
    let rejected: HashSet<i64> = of("eval.rejected").map(|entry| entry.json()["offset"].as_i64().expect("an offset")).collect();
    let mut entities: HashMap<String, History> = HashMap::new();
    let mut ids: HashSet<String> = HashSet::new();
    let mut newest: Option<i64> = None;
    for entry in of("eval.reports") {
        if entry.kind == Kind::Tick {
            newest = newest.max(Some(entry.time.0));
        }
        let Some(report) = reports::of_entry(entry).filter(|_| !rejected.contains(&(entry.offset as i64))) else { continue };
        if report.id.clone().is_some_and(|id| !ids.insert(id)) {
            counts.duplicate += 1;
            continue;
        }
        if let Some(watermark) = newest.map(|newest| newest - GRACE).filter(|watermark| report.time.0 < *watermark) {
            let found = late.next().unwrap_or_else(|| panic!("no ReportLate for {report:?}"));
            let found = ReportLate::decode(&found.payload).expect("canonical");
            assert_eq!((found.agent_id, found.timestamp, found.watermark), (&*report.agent, report.time, EventTime(watermark)));
            assert!(report.id.is_none_or(|id| id == found.report_id));
            counts.late += 1;
            continue;
        }
        newest = newest.max(Some(report.time.0.min(entry.time.0)));
        let history = entities.entry(report.agent.clone()).or_default();
        counts.behind_the_newest += usize::from(history.reports.iter().any(|other| other.time > report.time));
        history.add(rules, report.clone());
        let found = scores.next().unwrap_or_else(|| panic!("no ScoreUpdated for {report:?}"));
        check_score(rules, history, &report, entry, &ScoreUpdated::decode(&found.payload).expect("canonical"));
        counts.scored += 1;
    }
    assert_eq!((scores.next(), late.next()), (None, None), "partition {partition} has more than the definition gives");
}

fn check_score(rules: Rules, history: &History, report: &Report, entry: &Entry, found: &ScoreUpdated<'_>) {
    let at = format!("{} of eval.reports/{} at offset {}", report.agent, entry.partition, entry.offset);
    assert_eq!(
        (found.agent_id, found.timestamp, found.received_at, found.offset),
        (&*report.agent, report.time, entry.time, entry.offset),
        "{at}"
    );
    assert_eq!(found.window, report.window.as_deref().unwrap_or("1h"), "{at}");
    assert!(found.metrics.iter().eq(history.names.iter().map(String::as_str)), "{at}: {found:?}");
    assert_eq!(Some(&i128::from(found.observation.0)), history.observations.last(), "{at}: observation");
    assert_eq!(found.windows.len(), WINDOWS.len(), "{at}");
    for (window, (name, width, panes)) in found.windows.iter().zip(WINDOWS) {
        let places = history.window(width, panes);
        let inside: Vec<&Report> = places.iter().map(|at| &history.reports[*at]).collect();
        let expected = weighted_mean(rules, &history.names, &inside);
        let whole = |value: Fixed| i128::from(value.0);
        let components = window.components.iter().map(|component| component.map(|it| (whole(it.value), whole(it.contribution)))).collect();
        let computed = Window { raw: whole(window.raw_score), score: whole(window.score), reports: window.n, components };
        assert_eq!((window.name, computed), (name, expected), "{at}");
        let observations: Vec<f64> = places.iter().map(|at| history.observations[*at] as f64).collect();
        check_standard_error(&observations, window.standard_error, &at);
        if name == found.window {
            let values: usize = inside.iter().map(|report| report.metrics.len()).sum();
            let confidence = (500_000 + 100_000 * values as i64).min(1_000_000);
            assert_eq!(found.confidence.0, confidence, "{at}: confidence");
        }
    }
}

/// The textbook's formula, in floating point, so equal to a few units only.
fn check_standard_error(observations: &[f64], found: Option<Fixed>, at: &str) {
    let n = observations.len() as f64;
    if observations.len() < 2 {
        assert_eq!(found, None, "{at}");
        return;
    }
    let mean = observations.iter().sum::<f64>() / n;
    let variance = observations.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let expected = (variance / n).sqrt();
    let found = found.expect("two reports have a standard error").0 as f64;
    assert!((found - expected).abs() < 2.0, "{at}: standard error {found}, by the textbook {expected}");
}

fn check(rules: Rules, directory: &Directory) -> Counts {
    let dump = directory.dump();
    let partitions: BTreeMap<u32, ()> = of_topic(&dump, "eval.reports").map(|entry| (entry.partition, ())).collect();
    let mut counts = Counts::default();
    partitions.keys().for_each(|partition| check_partition(rules, &dump, *partition, &mut counts));
    counts
}

/// Weights of examples/topology.toml.
const EXAMPLE: Rules = &[("latency", Rule { weight: 3, ..PLAIN })];

#[test]
fn scores_of_the_real_trace_are_those_of_the_definition() {
    for (profile, rules) in [(Profile::Default, &[] as Rules), (Profile::Example, EXAMPLE)] {
        let directory = with_pools(profile);
        directory.import_trace().ok();
        let counts = check(rules, &directory);
        assert_eq!((counts.scored, counts.late), (17_747, 0));
    }
}

/// The trace out of order: most reports a little, some beyond grace, some by hours, with ids and copies, windows of all kinds and metrics
/// that come and go.
fn shuffled(seed: u64) -> Vec<Report> {
    let directory = with_pools(Profile::Default);
    directory.import_trace().ok();
    let mut random = Random::new(seed);
    let mut placed: Vec<(i64, Report)> = Vec::new();
    for (number, mut report) in taken(&directory.dump()).into_iter().enumerate() {
        let delay = match random.below(20) {
            0..12 => 0,
            12..17 => random.below(GRACE as u64) as i64,
            17 | 18 => random.below(3 * GRACE as u64) as i64,
            _ => random.below(12 * 3_600_000) as i64,
        };
        report.id = (random.below(4) > 0).then(|| format!("report-{number}"));
        report.window = random.one(&[None, Some("1h"), Some("24h"), Some("7d")]).map(Into::into);
        match random.below(10) {
            0 => report.metrics.reverse(),
            1 => drop(report.metrics.remove(0)),
            2 => report.metrics.push(("rework".into(), Fixed(random.below(400_000_001) as i64 - 100_000_000))),
            _ => {}
        }
        let at = report.time.0 + delay;
        if random.below(20) == 0 && report.id.is_some() {
            placed.push((at + random.below(3_600_000) as i64, report.clone()));
        }
        placed.push((at, report));
    }
    placed.sort_by_key(|(at, _)| *at);
    placed.into_iter().map(|(_, report)| report).collect()
}

/// A metric from -100 to 300 where less is better, and one that counts three times.
const SHUFFLED: Rules = &[("rework", Rule { weight: 2, from: -100, to: 300, invert: true }), ("success", Rule { weight: 3, ..PLAIN })];

#[test]
fn scores_of_late_and_unordered_reports_are_those_of_the_definition() {
    for seed in 1..=2 {
        let folder = Directory::new(Profile::Default);
        let topology = folder.file("topology.toml");
        let metrics = "\n[parameters.profiles.default.metrics]\nrework = { weight = 2, from = -100, to = 300, invert = true }\nsuccess = { weight = 3 }\n";
        write(&topology, text(&repository("topology.toml")) + metrics);
        let directory = Directory::with_topology(topology);
        let input = directory.file("shuffled.jsonl");
        write(&input, lines(&shuffled(seed)));
        directory.import([&input]).ok();
        let counts = check(SHUFFLED, &directory);
        assert!(counts.late > 300 && counts.duplicate > 300 && counts.behind_the_newest > 1_000, "seed {seed} proves little");
    }
}
