//! The verdict as a table; the flow is tested with the allocator behind it.

use crate::logic::{Backing, Case, judge, next_free};
use crate::params::Params;
use crate::state::{Gate, Waiting};
use merit_core::record::{PolicyBundle, Release};
use merit_core::{Duration, EventTime, Fixed, List, Row, Settings, Uuid};
use merit_policy::Bundle;
use std::vec::Vec;

fn promotion(confidence: Option<i64>, least: i64) -> Backing {
    Backing::Promotion { confidence: confidence.map(Fixed), least: Fixed(least) }
}

#[test]
fn everything_that_speaks_against_a_request_is_found_most_severe_first() {
    let bundle = Bundle::read(&PolicyBundle { deny_pools: List::Slice(&["denied"]), max_delta: Some(1_000) });
    for (pool, known, delta, now, backing, expected) in [
        ("gpus", true, 1_000, 10, promotion(None, 0), &[][..]),
        ("gpus", true, 1_000, 9, promotion(None, 0), &["request_cooldown"]), // free from 10 on
        ("gpus", true, 1_000, 10, promotion(Some(700_000), 700_000), &[]),
        ("gpus", true, 1_000, 10, promotion(Some(699_999), 700_000), &["low_confidence"]),
        ("gpus", true, 1_000, 10, promotion(None, 1), &["low_confidence"]), // no trust stated is less than any
        ("gpus", true, 1_000, 10, Backing::Person, &[]),
        ("gpus", false, 1_000, 10, Backing::Person, &["pool_unknown"]),
        ("denied", false, 1_001, 10, Backing::Person, &["sentinel-deny-pool", "pool_unknown", "sentinel-max-delta"]),
        ("denied", false, 1_001, 9, Backing::PersonToCome, &["awaiting_approval"]), // judged when the person spoke
        ("gpus", true, 1, 9, promotion(None, 1), &["low_confidence", "request_cooldown"]),
    ] {
        let case = Case { pool, delta, pool_known: known, next_free: EventTime(10), now: EventTime(now), backing };
        let found: Vec<&str> = judge(&case, &bundle).iter().map(|finding| finding.rule.name()).collect();
        assert_eq!(found, expected, "{pool} {delta} at {now}");
    }
}

#[test]
fn only_what_needs_no_person_more_takes_a_place_in_the_cooldown() {
    for (known, now, backing, expected) in [
        (true, 5, Backing::Person, 20),        // too early: the place at 10 is its own
        (true, 12, Backing::Person, 22),       // in time
        (false, 12, Backing::Person, 10),      // rejected
        (true, 12, Backing::PersonToCome, 10), // not yet
        (true, 12, promotion(None, 1), 10),    // doubted
    ] {
        let case = Case { pool: "gpus", delta: 1, pool_known: known, next_free: EventTime(10), now: EventTime(now), backing };
        let findings = judge(&case, &Bundle::default());
        assert_eq!(next_free(&case, &findings, Duration(10)), EventTime(expected), "{known} at {now}");
    }
}

#[test]
fn parameters_out_of_range_are_refused() {
    for (path, value, problem) in [
        ("policy-gate.confidence", "1", None),
        ("policy-gate.confidence", "1.000001", Some("policy-gate.confidence")),
        ("policy-gate.request_cooldown", "soon", Some("policy-gate.request_cooldown")),
    ] {
        let settings: Settings = [(path.into(), value.into())].into_iter().collect();
        let problems = Params::read(&settings).1;
        assert_eq!(problems.first().map(|found| found.path.as_str()), problem, "{value}");
    }
}

#[test]
fn a_release_forgets_what_waits_and_a_row_brings_the_rest_back() {
    let id = |number: u8| Uuid([number; 16]);
    let waiting = |promotion: u8| Waiting { promotion_id: Some(id(promotion)), agent_id: "ann".into(), pool: "gpus".into(), delta: 1 };
    let mut gate = Gate::default();
    (1..=4).for_each(|number| gate.wait(id(number), waiting(number / 3)));
    let mut release = |agent_id, promotion_id: Option<Uuid>, allocation_id| {
        let release = Release { agent_id, promotion_id, allocation_id, pool: "gpus", reason: "", requested_by: "" };
        gate.release(&release);
    };
    release("bob", None, Some(id(4))); // not his
    release("ann", Some(id(0)), None); // 1 and 2
    release("ann", Some(id(1)), Some(id(3))); // of promotion 1 only 3: the allocation says more
    let mut restored = Gate::default();
    gate.save(&mut Vec::new(), &mut |part, row| restored.load(part, row).expect("readable"));
    for mut gate in [gate, restored] {
        let left: Vec<u8> = (1..=4).filter(|number| gate.take(id(*number)).is_some()).collect();
        assert_eq!(left, [4]);
    }
}
