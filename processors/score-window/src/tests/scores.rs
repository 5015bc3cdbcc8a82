//! Scores that a person can check with a pencil.

use super::bench::{Bench, QUALITY, report};
use merit_core::record::{Component, Metric, ReportAccepted};
use merit_core::{EventTime, Fixed, List};
use std::vec::Vec;

const START: i64 = 1_737_136_800_000;

fn fixed(text: &str) -> Fixed {
    Fixed::parse(text).expect("a decimal")
}

/// Seed 001: 0.93 and 0.9 make 0.915, shown as 0.92, with confidence 0.7.
#[test]
fn the_sample_of_seed_001_gives_its_numbers() {
    let metrics = [Metric { name: "successRate", value: fixed("0.93") }, Metric { name: "latencyScore", value: fixed("0.9") }];
    let accepted = ReportAccepted {
        report_id: "b7f6",
        product_id: Some("cars"),
        received_at: EventTime(START + 1_000),
        offset: 41,
        ..report("agent-123", START, &metrics)
    };
    let mut bench = Bench::new(&[]);
    bench.score(accepted, |score| {
        assert_eq!((score.report_id, score.agent_id, score.division_id, score.product_id), ("b7f6", "agent-123", "default", Some("cars")));
        assert_eq!((score.timestamp, score.received_at, score.offset), (EventTime(START), EventTime(START + 1_000), 41));
        assert_eq!((score.window, score.confidence, score.observation), ("1h", fixed("0.7"), fixed("0.915")));
        // Components in the order of the input.
        assert_eq!(score.metrics.iter().collect::<Vec<_>>(), ["successRate", "latencyScore"]);
        let parts = [("0.93", "0.465"), ("0.9", "0.45")];
        let parts = parts.map(|(value, contribution)| Some(Component { value: fixed(value), contribution: fixed(contribution) }));
        assert_eq!(score.windows.iter().map(|window| window.name).collect::<Vec<_>>(), ["1h", "24h", "7d"]);
        for window in score.windows {
            assert_eq!((window.raw_score, window.score, window.n), (fixed("0.915"), fixed("0.92"), 1));
            assert_eq!(window.components, List::Slice(&parts));
            assert_eq!(window.standard_error, None);
        }
    });
}

#[test]
fn confidence_grows_by_a_tenth_a_value_up_to_one() {
    let mut bench = Bench::new(&[]);
    for (n, confidence) in ["0.6", "0.7", "0.8", "0.9", "1", "1", "1"].into_iter().enumerate() {
        bench.score(report("ann", START + n as i64, QUALITY), |score| assert_eq!(score.confidence, fixed(confidence), "{n}"));
    }
    // In the report's own window: an hour later the short window holds one value, the long one eight.
    bench.score(report("ann", START + 3_600_000, QUALITY), |score| assert_eq!(score.confidence, fixed("0.6")));
    let long = ReportAccepted { window: "24h", ..report("ann", START + 3_600_001, QUALITY) };
    bench.score(long, |score| assert_eq!(score.confidence, fixed("1")));
}

#[test]
fn metrics_keep_the_order_in_which_they_first_appeared() {
    let of =
        |names: &'static [&'static str]| -> Vec<Metric<'static>> { names.iter().map(|name| Metric { name, value: Fixed::ONE }).collect() };
    let mut bench = Bench::new(&[]);
    for (sent, known) in
        [(&["b", "a"][..], &["b", "a"][..]), (&["a"], &["b", "a"]), (&["c", "a"], &["b", "a", "c"]), (&["c", "b"], &["b", "a", "c"])]
    {
        bench.score(report("ann", START, &of(sent)), |score| assert_eq!(score.metrics.iter().collect::<Vec<_>>(), known));
        bench.reload();
    }
}

/// A metric without values in a window has no part there, and the weights of the others are shared out anew.
#[test]
fn weights_renormalise_over_the_metrics_present() {
    let mut bench = Bench::new(&["profiles.default.metrics.a.weight=3"]);
    let metric = |name, value| [Metric { name, value: fixed(value) }];
    bench.report(report("ann", START, &metric("a", "1")));
    // 24h: (3 x 1 + 1 x 0.2) / 4; 1h: b alone.
    bench.score(report("ann", START + 3_600_000, &metric("b", "0.2")), |score| {
        let scores: Vec<(Fixed, usize)> =
            score.windows.iter().map(|window| (window.raw_score, window.components.iter().flatten().count())).collect();
        assert_eq!(scores, [(fixed("0.2"), 1), (fixed("0.8"), 2), (fixed("0.8"), 2)]);
        assert_eq!(score.observation, fixed("0.2"));
    });
}

#[test]
fn standard_error_is_that_of_the_mean_and_needs_two_reports() {
    let mut bench = Bench::new(&[]);
    let errors = ["0", "1", "0", "1"].map(|value| {
        let metrics = [Metric { name: "a", value: fixed(value) }];
        bench.score(report("ann", START, &metrics), |score| score.windows.iter().next().and_then(|window| window.standard_error))
    });
    // Two values: s = sqrt(1/2), s / sqrt 2 = 1/2. Three: sqrt(1/3 / 3) = 1/3. Four: sqrt(1/3 / 4).
    assert_eq!(errors, [None, Some(fixed("0.5")), Some(fixed("0.333333")), Some(fixed("0.288675"))]);
}

#[test]
fn a_pane_leaves_its_window_whole_and_at_once() {
    let (minute, hour) = (60_000, 3_600_000);
    // The newest time that still counts a report at START, 18:00:00, with n = 2 in the window, and the next that does not.
    for (window, last) in [(0, 59 * minute), (1, 23 * hour + 45 * minute), (2, 166 * hour)] {
        let width = [minute, 15 * minute, 2 * hour][window];
        for (at, n) in [(last + width - 1, 2), (last + width, 1)] {
            let mut bench = Bench::new(&["event-time.grace=24h"]);
            bench.report(report("ann", START, QUALITY));
            bench.reload();
            bench.score(report("ann", START + at, QUALITY), |score| {
                assert_eq!(score.windows.iter().nth(window).map(|window| window.n), Some(n), "{window} at {at}");
            });
        }
    }
}
