//! Every rule: a report that just breaks it and one that just keeps it.

use super::desk::{Desk, GOOD, NOW, metrics, names};
use merit_core::record::{Action, AllocationOutcome, AssignEntity, EvalReport, Metric, Outcome, ProposePromotion, RawReport, Tag};
use merit_core::{Duration, EventTime, Fixed, Kind, List, Payload, Uuid};
use std::vec::Vec;

const PROFILE: &[&str] = &[
    "profiles.default.metrics.latency.from=-2",
    "profiles.default.metrics.latency.to=250.5",
    "profiles.default.metrics.huge.from=-1000000",
    "profiles.default.metrics.huge.to=1000000",
];

/// The first report is refused under that rule, whole and with its coordinates; the second counts.
#[track_caller]
fn check(rule: &str, breaks: EvalReport<'_>, keeps: EvalReport<'_>) {
    let mut desk = Desk::new(PROFILE);
    let emitted = desk.report(breaks);
    assert_eq!(emitted.iter().map(|record| record.kind).collect::<Vec<_>>(), [Kind::Rejected], "{rule}");
    let mut bytes = Vec::new();
    Payload::EvalReport(&breaks).put(&mut bytes);
    emitted[0].read(|payload| {
        let Payload::Rejected(rejected) = payload else { panic!("not a refusal") };
        assert_eq!((rejected.rule, rejected.topic, rejected.record_type), (rule, "eval.reports", "EvalReport"));
        assert_eq!((rejected.partition, rejected.offset, rejected.source), (0, desk.offset, "probe"));
        assert_eq!((rejected.bytes, rejected.schema), (bytes.as_slice(), [Kind::EvalReport as u8; 32]));
        assert!(!rejected.detail.is_empty());
    });
    assert_eq!((emitted[0].key.as_str(), emitted[0].time), ("probe", NOW));
    let kinds: Vec<Kind> = desk.report(keeps).iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [Kind::EntityAssigned, Kind::ReportAccepted], "{rule}");
    let counts = desk.counts();
    assert_eq!((counts.rejected, counts.accepted), (1, 1), "{rule}");
}

#[test]
fn names_and_ids_have_1_to_256_bytes() {
    let (most, over) = ("ü".repeat(128), "ü".repeat(128) + "x");
    let (most, over) = (most.as_str(), over.as_str());
    for long in ["", over] {
        check("agent_id_invalid", EvalReport { agent_id: long, ..GOOD }, EvalReport { agent_id: most, ..GOOD });
        check("id_invalid", EvalReport { id: Some(long), ..GOOD }, EvalReport { id: Some(most), ..GOOD });
        check("division_id_invalid", EvalReport { division_id: Some(long), ..GOOD }, EvalReport { division_id: Some(most), ..GOOD });
        check("product_id_invalid", EvalReport { product_id: Some(long), ..GOOD }, EvalReport { product_id: Some(most), ..GOOD });
        let named = |name| [Metric { name, value: Fixed::ONE }];
        let (breaks, keeps) = (named(long), named(most));
        check(
            "metric_name_invalid",
            EvalReport { metrics: List::Slice(&breaks), ..GOOD },
            EvalReport { metrics: List::Slice(&keeps), ..GOOD },
        );
    }
}

#[test]
fn a_timestamp_lies_between_1970_and_9999() {
    let at = |timestamp| EvalReport { timestamp, ..GOOD };
    check("timestamp_range", at(EventTime(-1)), at(EventTime(0)));
    check("timestamp_range", at(EventTime::MIN), at(EventTime(0)));
    // What is after 9999 is also in the future, unless it is received then.
    let mut desk = Desk::new(&[]);
    for (timestamp, kinds) in
        [(EventTime(EventTime::LATEST.0 + 1), &[Kind::Rejected][..]), (EventTime::LATEST, &[Kind::EntityAssigned, Kind::ReportAccepted])]
    {
        let emitted = desk.take_at(EventTime::LATEST, 0, "ann", &at(timestamp));
        assert_eq!(emitted.iter().map(|record| record.kind).collect::<Vec<_>>(), kinds);
        if kinds == [Kind::Rejected] {
            emitted[0].read(|payload| assert!(matches!(payload, Payload::Rejected(rejected) if rejected.rule == "timestamp_range")));
        }
    }
}

#[test]
fn a_report_is_at_most_5_minutes_ahead_of_its_receipt() {
    let ahead = |by: Duration| EvalReport { timestamp: NOW + by, ..GOOD };
    check("timestamp_future", ahead(Duration(300_001)), ahead(Duration(300_000)));
}

#[test]
fn how_far_ahead_is_a_parameter() {
    let mut desk = Desk::new(&["event-time.future=1s"]);
    for (by, kind) in [(1_001, Kind::Rejected), (1_000, Kind::ReportAccepted)] {
        let emitted = desk.report(EvalReport { timestamp: NOW + Duration(by), ..GOOD });
        assert_eq!(emitted.last().map(|record| record.kind), Some(kind), "{by}");
    }
}

#[test]
fn a_window_is_one_that_is_scored() {
    for known in ["1h", "24h", "7d"] {
        for unknown in ["2h", "", "1H"] {
            check("window_unknown", EvalReport { window: Some(unknown), ..GOOD }, EvalReport { window: Some(known), ..GOOD });
        }
    }
}

#[test]
fn a_report_has_at_most_64_tags() {
    let tags = [Tag { name: "site", value: "a" }; 65];
    check("tags_count", EvalReport { tags: List::Slice(&tags), ..GOOD }, EvalReport { tags: List::Slice(&tags[..64]), ..GOOD });
}

#[test]
fn a_report_has_1_to_16_metrics() {
    let names = names(17);
    let metrics = metrics(&names, Fixed::ONE);
    let with = |n: usize| EvalReport { metrics: List::Slice(&metrics[..n]), ..GOOD };
    check("metric_count", with(0), with(1));
    check("metric_count", with(17), with(16));
}

#[test]
fn a_metric_is_there_once() {
    let metric = |name| Metric { name, value: Fixed::ONE };
    let once = ["a", "b", "A"].map(metric);
    for twice in [["a", "b", "a"], ["a", "a", "b"], ["b", "a", "a"]] {
        let twice = twice.map(metric);
        check("metric_duplicate", EvalReport { metrics: List::Slice(&twice), ..GOOD }, EvalReport { metrics: List::Slice(&once), ..GOOD });
    }
}

#[test]
fn a_metric_lies_within_the_range_of_its_profile() {
    for (name, breaks, keeps) in [
        ("quality", -1, 0),
        ("quality", 1_000_001, 1_000_000),
        ("latency", -2_000_001, -2_000_000),
        ("latency", 250_500_001, 250_500_000),
        ("huge", 1_000_000_000_001, 1_000_000_000_000),
        ("huge", -1_000_000_000_001, -1_000_000_000_000),
        ("huge", i64::MIN, 0),
    ] {
        let [breaks, keeps] = [breaks, keeps].map(|value| [Metric { name, value: Fixed(value) }]);
        check("metric_range", EvalReport { metrics: List::Slice(&breaks), ..GOOD }, EvalReport { metrics: List::Slice(&keeps), ..GOOD });
    }
}

#[test]
fn an_entity_has_16_metric_names_over_its_life() {
    let names = names(17);
    let metrics = metrics(&names, Fixed::ONE);
    let mut desk = Desk::new(&[]);
    for (range, accepted) in [
        (0..10, true),
        (8..16, true),   // six new ones
        (16..17, false), // the seventeenth
        (9..17, false),  // with known ones beside it
        (0..16, true),
        (15..16, true), // refused names were not learnt
    ] {
        desk.reload();
        let emitted = desk.report(EvalReport { metrics: List::Slice(&metrics[range.clone()]), ..GOOD });
        let last = emitted.last().expect("an answer");
        last.read(|payload| match payload {
            Payload::ReportAccepted(_) => assert!(accepted, "{range:?}"),
            Payload::Rejected(rejected) => assert_eq!((rejected.rule, accepted), ("metric_names", false), "{range:?}"),
            other => panic!("{other:?}"),
        });
    }
    let other = desk.report(EvalReport { agent_id: "bob", metrics: List::Slice(&metrics[16..]), ..GOOD });
    assert_eq!(other.last().map(|record| record.kind), Some(Kind::ReportAccepted));
}

#[test]
fn what_was_fed_back_33_times_is_refused() {
    let outcome =
        AllocationOutcome { agent_id: "ann", promotion_id: None, allocation_id: Uuid([1; 16]), outcome: Outcome::Confirmed, reason: "" };
    let mut desk = Desk::new(&[]);
    assert_eq!(desk.take_at(NOW, 32, "ann", &outcome), []);
    let refused = desk.take_at(NOW, 33, "ann", &outcome);
    refused[0].read(|payload| {
        let Payload::Rejected(rejected) = payload else { panic!("not a refusal") };
        assert_eq!((rejected.rule, rejected.record_type), ("feedback_depth", "AllocationOutcome"));
    });
    assert_eq!(desk.take_at(NOW, 32, "ann", &GOOD).len(), 2);
    assert_eq!(desk.take_at(NOW, 33, "ann", &GOOD)[0].kind, Kind::Rejected);
    let counts = desk.counts();
    assert_eq!((counts.fed_back, counts.accepted, counts.rejected), (1, 1, 2));
}

#[test]
fn bytes_that_did_not_parse_are_kept_with_their_rule() {
    let mut desk = Desk::new(&[]);
    let emitted = desk.take("probe", &RawReport { source: "probe", rule: "json_invalid", detail: "line 1: no", bytes: b"{" });
    emitted[0].read(|payload| {
        let Payload::Rejected(rejected) = payload else { panic!("not a refusal") };
        assert_eq!((rejected.source, rejected.rule, rejected.detail, rejected.bytes), ("probe", "json_invalid", "line 1: no", &b"{"[..]));
        assert_eq!((rejected.record_type, rejected.schema, rejected.offset), ("RawReport", [Kind::RawReport as u8; 32], 1));
    });
    assert_eq!(desk.counts().rejected, 1);
}

/// A command that breaks a rule is rejected whole, and one that keeps it counts as a command.
#[track_caller]
fn check_command<'a>(rule: &str, command: impl Into<Payload<'a>>) {
    let (mut desk, command) = (Desk::new(&[]), command.into());
    let emitted = desk.take("ann", command);
    let rejected: Vec<Kind> = emitted.iter().map(|record| record.kind).filter(|kind| *kind != Kind::EntityAssigned).collect();
    let counts = desk.counts();
    if rule.is_empty() {
        assert_eq!((rejected, counts.commands, counts.rejected), (Vec::new(), 1, 0));
        return;
    }
    assert_eq!((emitted.len(), rejected, counts.commands, counts.rejected), (1, Vec::from([Kind::Rejected]), 0, 1), "{rule}");
    let mut bytes = Vec::new();
    command.put(&mut bytes);
    emitted[0].read(|payload| {
        let Payload::Rejected(rejected) = payload else { panic!("not a refusal") };
        assert_eq!((rejected.rule, rejected.record_type, rejected.bytes), (rule, command.kind().name(), bytes.as_slice()));
    });
}

#[test]
fn a_command_is_bounded_as_a_report_is() {
    let long = "x".repeat(70_000);
    let name = &long[..257];
    let assign = AssignEntity { agent_id: "ann", division_id: "red", product_id: None };
    for (rule, command) in [
        ("", assign),
        ("", AssignEntity { agent_id: &name[1..], division_id: &name[1..], product_id: Some(&name[1..]) }),
        ("agent_id_invalid", AssignEntity { agent_id: "", ..assign }),
        ("agent_id_invalid", AssignEntity { agent_id: &long, ..assign }),
        ("division_id_invalid", AssignEntity { division_id: name, ..assign }),
        ("product_id_invalid", AssignEntity { product_id: Some(""), ..assign }),
    ] {
        check_command(rule, &command);
    }
    let (action, confidence, delta) = (Action::Promote, None, Some(1));
    let propose =
        ProposePromotion { agent_id: "ann", action, rationale: "why not", confidence, requested_by: "bob", pool: Some("gpus"), delta };
    for (rule, command) in [
        ("", propose),
        ("", ProposePromotion { rationale: &long[..4_096], requested_by: &name[1..], pool: None, delta: None, ..propose }),
        ("agent_id_invalid", ProposePromotion { agent_id: &long, ..propose }),
        ("text_invalid", ProposePromotion { rationale: &long[..4_097], ..propose }),
        ("text_invalid", ProposePromotion { requested_by: name, ..propose }),
        ("text_invalid", ProposePromotion { pool: Some(""), ..propose }),
        ("text_invalid", ProposePromotion { pool: Some(name), ..propose }),
        ("delta_not_positive", ProposePromotion { delta: Some(0), ..propose }),
    ] {
        check_command(rule, &command);
    }
}
