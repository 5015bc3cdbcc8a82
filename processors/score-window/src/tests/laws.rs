//! Random streams: every field is what a full history gives, and a checkpoint changes nothing.

use super::bench::{Bench, Emitted};
use super::oracle::{Answer, Kept, Oracle, Profile, Rule};
use merit_core::record::{Metric, ReportAccepted, ScoreUpdated};
use merit_core::{EventTime, Fixed, List, Payload};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::format;
use std::string::String;
use std::vec::Vec;

const START: i64 = 1_737_136_800_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const METRICS: [&str; 4] = ["quality", "latency", "loss", "rare"];
const DIVISIONS: [&str; 2] = ["red", "blue"];
const WINDOWS: [&str; 3] = ["1h", "24h", "7d"];

/// Latency from 20 to 250.5, less is better; loss from -3 to -1; weights of their own in some windows of division red.
const SETTINGS: &[&str] = &[
    "profiles.default.decimals=3",
    "profiles.default.metrics.latency.weight=0.7",
    "profiles.default.metrics.latency.from=20",
    "profiles.default.metrics.latency.to=250.5",
    "profiles.default.metrics.latency.invert=true",
    "profiles.default.metrics.loss.from=-3",
    "profiles.default.metrics.loss.to=-1",
    "profiles.default.weights.red.1h.quality=3",
    "profiles.default.weights.red.24h.loss=0.000001",
    "profiles.default.weights.red.7d.latency=12.345678",
];

fn profile() -> Profile {
    let latency = Rule { weight: 700_000, from: 20_000_000, to: 250_500_000, invert: true };
    let loss = Rule { weight: 1_000_000, from: -3_000_000, to: -1_000_000, invert: false };
    let weights = [(("red", "1h", "quality"), 3_000_000), (("red", "24h", "loss"), 1), (("red", "7d", "latency"), 12_345_678)];
    Profile { decimals: 3, rules: [("latency", latency), ("loss", loss)].into(), weights: weights.into() }
}

#[derive(Clone, Debug)]
enum Step {
    /// Agent, how far behind (or ahead of) its receipt, division, window, and share of its range by metric.
    Report(&'static str, i64, &'static str, &'static str, Vec<(&'static str, i64)>),
    Tick,
}

/// A time that passes, and what comes then.
type Timed = (i64, Step);

fn share(name: &'static str) -> impl Strategy<Value = (&'static str, i64)> {
    let (from, to) = match name {
        "latency" => (20_000_000, 250_500_000),
        "loss" => (-3_000_000, -1_000_000),
        _ => (0, 1_000_000_i64),
    };
    prop_oneof![8 => from..=to, 1 => Just(from), 1 => Just(to)].prop_map(move |value| (name, value))
}

fn step(grace: i64) -> impl Strategy<Value = Timed> {
    let passes = prop_oneof![12 => 0..2 * MINUTE, 3 => 0..2 * HOUR, 1 => 0..30 * HOUR, 1 => Just(0_i64), 1 => 0..400 * HOUR];
    let lag = prop_oneof![6 => Just(0_i64), 3 => 0..=grace, 1 => grace..2 * grace + 1, 1 => -5 * MINUTE..0];
    let metrics = subsequence(&METRICS[..], 1..=METRICS.len()).prop_shuffle();
    let metrics = metrics.prop_flat_map(|names| names.into_iter().map(share).collect::<Vec<_>>());
    let report = (select(&["ann", "bob"][..]), lag, select(&DIVISIONS[..]), select(&WINDOWS[..]), metrics)
        .prop_map(|(agent, lag, division, window, metrics)| Step::Report(agent, lag, division, window, metrics));
    (passes, prop_oneof![15 => report, 1 => Just(Step::Tick)])
}

/// A grace in minutes, and a stream.
fn stream() -> impl Strategy<Value = (i64, Vec<Timed>)> {
    select(&[0, 10, 90, 24 * 60][..]).prop_flat_map(|grace| (Just(grace), proptest::collection::vec(step(grace * MINUTE), 1..120)))
}

fn take(bench: &mut Bench, now: i64, step: &Step) -> Vec<Emitted> {
    match step {
        Step::Tick => bench.tick(now),
        Step::Report(agent_id, lag, division_id, window, metrics) => {
            let metrics: Vec<Metric<'_>> = metrics.iter().map(|(name, value)| Metric { name, value: Fixed(*value) }).collect();
            bench.report(ReportAccepted {
                report_id: "r",
                agent_id,
                division_id,
                product_id: Some("cars"),
                metrics: List::Slice(&metrics),
                source: "probe",
                timestamp: EventTime(now - lag),
                received_at: EventTime(now),
                window,
                offset: 7,
            })
        }
    }
}

/// What the oracle says that a step leads to, as [`shown`] writes it.
fn expected(oracle: &mut Oracle, now: i64, step: &Step) -> Vec<(String, Vec<f64>)> {
    let progress = |watermark: i64| (format!("progress of 3 at {watermark}"), Vec::new());
    let Step::Report(agent, lag, division, window, metrics) = step else { return [progress(oracle.tick(now))].into() };
    let (answer, announced) = oracle.report(agent, Kept::new(now - lag, now, division, window, metrics.clone()));
    let answer = match answer {
        Answer::Late { watermark } => (format!("late {agent} {} behind {watermark}", now - lag), Vec::new()),
        Answer::Scored { names, observation, values, windows } => {
            let confidence = (500_000 + 100_000 * values as i64).min(1_000_000);
            let mut text = format!("{agent} {} in {division} {window}: {observation} {confidence} {names:?}", now - lag);
            let mut errors = Vec::new();
            for (name, score) in windows {
                text += &format!("; {name} {} {} of {} {:?}", score.raw, score.score, score.n, score.components);
                errors.push(score.standard_error.unwrap_or(-1.0));
            }
            (text, errors)
        }
    };
    core::iter::once(answer).chain(announced.map(progress)).collect()
}

fn shown(record: &Emitted) -> (String, Vec<f64>) {
    record.read(|payload| match payload {
        Payload::Progress(progress) => (format!("progress of {} at {}", progress.partition, progress.watermark.0), Vec::new()),
        Payload::ReportLate(late) => (format!("late {} {} behind {}", late.agent_id, late.timestamp.0, late.watermark.0), Vec::new()),
        Payload::ScoreUpdated(score) => shown_score(score),
        other => panic!("{other:?}"),
    })
}

fn shown_score(score: &ScoreUpdated<'_>) -> (String, Vec<f64>) {
    let ScoreUpdated { agent_id, division_id, window, observation, confidence, .. } = *score;
    let names: Vec<&str> = score.metrics.iter().collect();
    let mut text = format!("{agent_id} {} in {division_id} {window}: {} {} {names:?}", score.timestamp.0, observation.0, confidence.0);
    let mut errors = Vec::new();
    for window in score.windows {
        let components = window.components.iter().map(|part| part.map(|part| (part.value.0, part.contribution.0)));
        let components: Vec<_> = components.collect();
        text += &format!("; {} {} {} of {} {components:?}", window.name, window.raw_score.0, window.score.0, window.n);
        errors.push(window.standard_error.map_or(-1.0, |error| error.0 as f64));
    }
    (text, errors)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_score_is_what_a_full_history_gives((grace, steps) in stream()) {
        let setting = format!("event-time.grace={grace}m");
        let settings = [SETTINGS, &[&setting]].concat();
        let mut bench = Bench::new(&settings);
        let mut oracle = Oracle::new(profile(), grace * MINUTE);
        let mut now = START;
        for (passes, step) in &steps {
            now += passes;
            let (emitted, expected) = (take(&mut bench, now, step), expected(&mut oracle, now, step));
            let shown: Vec<_> = emitted.iter().map(shown).collect();
            prop_assert_eq!(shown.len(), expected.len(), "{:?} against {:?}", shown, expected);
            for ((text, errors), (expected_text, expected_errors)) in shown.iter().zip(&expected) {
                prop_assert_eq!(text, expected_text);
                prop_assert_eq!(errors.len(), expected_errors.len());
                for (error, expected) in errors.iter().zip(expected_errors) {
                    // In units of 1e-6, rounded down; floating point may see a hair less.
                    prop_assert!((-1e-6..1.0 + 1e-6).contains(&(expected - error)), "standard error {error}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_checkpoint_changes_nothing((grace, steps) in stream(), checkpoint in 1..5_usize, reload in 1..9_usize) {
        let setting = format!("event-time.grace={grace}m");
        let settings = [SETTINGS, &[&setting]].concat();
        let (mut straight, mut stopped) = (Bench::new(&settings), Bench::new(&settings));
        let mut now = START;
        for (at, (passes, step)) in steps.iter().enumerate() {
            now += passes;
            if at % checkpoint == 0 {
                stopped.checkpoint();
            }
            if at % reload == 0 {
                stopped.reload();
            }
            prop_assert_eq!(take(&mut stopped, now, step), take(&mut straight, now, step));
        }
        stopped.checkpoint();
        straight.checkpoint();
        prop_assert_eq!(&stopped.deltas, &straight.deltas);
        // A bucket's row holds panes as fine as they were when it was written; loading makes them equal.
        let but_panes = |bench: &Bench| bench.rows.0.iter().filter(|((store, ..), _)| *store != "windows").map(|(key, row)| (key.clone(), row.clone())).collect::<Vec<_>>();
        prop_assert_eq!(but_panes(&stopped), but_panes(&straight));
    }
}
