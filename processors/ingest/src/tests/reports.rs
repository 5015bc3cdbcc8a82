//! Ids of reports: what is a duplicate, for how long, and through which changes.

use super::desk::{Desk, Emitted, GOOD, NOW, show};
use merit_core::record::{EvalReport, Metric};
use merit_core::{Duration, EventTime, Fixed, Kind, List, Payload};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const CAPACITY: usize = 4_096;

fn named(id: &str) -> EvalReport<'_> {
    EvalReport { id: Some(id), ..GOOD }
}

/// A report of that number; numbers are ids.
fn send(desk: &mut Desk, number: usize) -> Vec<Emitted> {
    desk.report(named(&format!("report {number}")))
}

fn kinds(emitted: &[Emitted]) -> Vec<Kind> {
    emitted.iter().map(|record| record.kind).collect()
}

/// Sends reports again that are still known: each is a duplicate, and the ring stays as it is.
#[track_caller]
fn known(desk: &mut Desk, numbers: std::ops::Range<usize>) {
    let before = desk.counts();
    for number in numbers.clone() {
        assert_eq!(kinds(&send(desk, number)), [Kind::ReportDuplicate], "{number}");
    }
    assert_eq!(desk.counts().duplicate - before.duplicate, numbers.len() as u64);
    assert_eq!(desk.counts().accepted, before.accepted);
}

#[test]
fn an_accepted_report_carries_everything_that_it_said() {
    let metrics = [Metric { name: "b", value: Fixed(1) }, Metric { name: "a", value: Fixed::ONE }];
    let timestamp = EventTime(NOW.0 - 5);
    for (window, shown) in [(Some("7d"), "7d"), (None, "1h")] {
        let mut desk = Desk::new(&[]);
        let report = EvalReport { id: Some("x"), metrics: List::Slice(&metrics), timestamp, window, ..GOOD };
        let emitted = desk.report(report);
        assert_eq!((emitted[1].key.as_str(), emitted[1].time), ("ann", timestamp));
        emitted[1].read(|payload| {
            let Payload::ReportAccepted(accepted) = payload else { panic!("not accepted") };
            assert_eq!((accepted.report_id, accepted.agent_id, accepted.source, accepted.window), ("x", "ann", "probe", shown));
            assert_eq!((accepted.timestamp, accepted.received_at, accepted.offset), (timestamp, NOW, 1));
            assert_eq!(accepted.metrics, List::Slice(&metrics)); // in the order of the report
        });
    }
}

#[test]
fn the_same_report_again_is_counted_and_names_the_offset_of_the_first() {
    let mut desk = Desk::new(&[]);
    let (_, first) = (desk.report(GOOD), desk.report(named("x")));
    assert_eq!(show(&first), "ann counts for default - as x");
    for _ in 0..3 {
        assert_eq!(show(&desk.report(named("x"))), "x of ann counted at offset 2");
        desk.reload();
    }
    let counts = desk.counts();
    assert_eq!((counts.accepted, counts.duplicate, counts.rejected), (2, 3, 0));
}

#[test]
fn an_id_with_other_content_is_refused_and_changes_nothing() {
    let mut desk = Desk::new(&[]);
    desk.report(named("x"));
    let other = [
        EvalReport { timestamp: NOW + Duration(1), ..named("x") },
        EvalReport { agent_id: "bob", ..named("x") },
        EvalReport { source: "probe 2", ..named("x") },
    ];
    for report in other {
        desk.report(report)[0].read(|payload| {
            let Payload::Rejected(rejected) = payload else { panic!("not a refusal") };
            let detail = "id \"x\" was taken by the report at offset 1, which has other content";
            assert_eq!((rejected.rule, rejected.detail), ("id_reused", detail));
        });
    }
    assert_eq!(show(&desk.report(named("x"))), "x of ann counted at offset 1");
    // Bob was not learnt from a report that does not count.
    assert_eq!(
        show(&desk.report(EvalReport { agent_id: "bob", ..GOOD })),
        "home of bob is default -, bob counts for default - as its own id"
    );
}

#[test]
fn a_refused_report_does_not_take_its_id() {
    let mut desk = Desk::new(&[]);
    assert_eq!(show(&desk.report(EvalReport { window: Some("2h"), ..named("x") })), "rejected window_unknown");
    assert_eq!(show(&desk.report(named("x"))), "home of ann is default -, ann counts for default - as x");
}

#[test]
fn a_report_without_id_gets_that_of_its_record_and_is_never_a_duplicate() {
    let mut desk = Desk::new(&[]);
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let emitted = desk.report(GOOD);
            let record = emitted.iter().find(|record| record.kind == Kind::ReportAccepted).expect("accepted");
            record.read(|payload| {
                let Payload::ReportAccepted(accepted) = payload else { panic!("not accepted") };
                assert_eq!(accepted.report_id, record.id.to_string());
                accepted.report_id.to_string()
            })
        })
        .collect();
    // That id is free for a producer: it never entered the ring.
    assert_eq!(show(&desk.report(named(&ids[0]))), format!("ann counts for default - as {}", ids[0]));
    // Nor do reports without id push others out.
    (0..CAPACITY).for_each(|_| drop(desk.report(GOOD)));
    assert_eq!(kinds(&desk.report(named(&ids[0]))), [Kind::ReportDuplicate]);
}

#[test]
fn the_ring_forgets_the_oldest_first() {
    let mut desk = Desk::new(&[]);
    (0..CAPACITY).for_each(|number| drop(send(&mut desk, number)));
    known(&mut desk, 0..CAPACITY);
    // One more takes the place of the first, and of no other.
    assert_eq!(send(&mut desk, CAPACITY).len(), 1);
    known(&mut desk, 1..CAPACITY + 1);
    assert_eq!(send(&mut desk, 0).len(), 1);
    // Now the second is out.
    known(&mut desk, 2..CAPACITY + 1);
    assert_eq!(send(&mut desk, 1).len(), 1);
    assert_eq!(send(&mut desk, CAPACITY + 1).len(), 1);
}

#[test]
fn the_ring_survives_checkpoints_at_any_fill() {
    let mut desk = Desk::new(&["ingest.recent_reports=8192"]);
    let mut sent = 0;
    for upto in [1, 4_095, 4_096, 4_097, 8_191, 8_192, 8_193, 12_288, 16_385] {
        (sent..upto).for_each(|number| drop(send(&mut desk, number)));
        sent = upto;
        desk.reload();
        known(&mut desk, sent.saturating_sub(8_192)..sent);
    }
    assert_eq!(send(&mut desk, 16_385 - 8_193).len(), 1);
}

#[test]
fn another_capacity_keeps_the_newest() {
    let mut desk = Desk::new(&["ingest.recent_reports=8192"]);
    (0..10_000).for_each(|number| drop(send(&mut desk, number)));
    desk.checkpoint();
    desk.configure(1, &["ingest.recent_reports=4096"]);
    known(&mut desk, 10_000 - 4_096..10_000);
    desk.reload();
    known(&mut desk, 10_000 - 4_096..10_000);
    assert_eq!(send(&mut desk, 10_000 - 4_097).len(), 1); // forgotten; takes the place of the oldest
    desk.configure(1, &["ingest.recent_reports=12288"]);
    desk.reload();
    known(&mut desk, 10_000 - 4_095..10_000);
    (10_000..10_000 + 8_000).for_each(|number| drop(send(&mut desk, number)));
    desk.reload();
    known(&mut desk, 10_000 - 4_095..18_000);
}

#[test]
fn a_checkpoint_writes_only_the_chunks_that_changed() {
    let mut desk = Desk::new(&["ingest.recent_reports=12288"]);
    (0..9_000).for_each(|number| drop(send(&mut desk, number)));
    desk.checkpoint();
    let parts: Vec<u32> = desk.rows.0.keys().filter(|(store, _, _)| store == "recent-reports").map(|(_, _, part)| *part).collect();
    assert_eq!(parts, [0, 1, 2, 3]);
    desk.rows.0.clear();
    send(&mut desk, 9_000);
    desk.checkpoint();
    let parts: Vec<u32> = desk.rows.0.keys().filter(|(store, _, _)| store == "recent-reports").map(|(_, _, part)| *part).collect();
    assert_eq!(parts, [0, 3]);
}
