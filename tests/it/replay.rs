//! A log computed again: equal, or the first record and field that differ.

use merit_core::record::{
    AllocationConfirmed, AllocationRequested, AuditLeaf, Component, EvalReport, Metric, PolicyDecided, PromotionProposed, ScoreUpdated,
    SealedLeaf, WindowScore,
};
use merit_core::{Datum, EventTime, Fixed, Kind, List};
use merit_tests::directory::{Directory, example};
use merit_tests::dump::Entry;
use merit_tests::process::Done;
use merit_tests::random::Random;
use serde_json::Value;

#[test]
fn the_real_trace_computed_again_is_equal() {
    let directory = example();
    let replayed = directory.replay();
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let all = directory.dump().len() as u64;
    assert_eq!((replayed.json()["equal"].as_bool(), replayed.json()["compared"].as_u64()), (Some(true), Some(all)));
}

#[test]
fn a_copy_of_the_log_is_equal_too() {
    assert_eq!(example().changed(|_| ()).replay().code, Some(0));
}

#[test]
fn without_the_key_signatures_are_verified_and_the_log_is_equal() {
    let directory = example();
    let replayed = directory.call(["replay", "--assert-equal"]).run();
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
}

fn encoded<'a>(value: impl Datum<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    bytes
}

/// Flips the lowest bit of a number's first byte but its sign.
fn next(value: Fixed) -> Fixed {
    Fixed(value.0 ^ 1)
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Gives the encoding of a record otherwise.
type Edit = fn(&[u8]) -> Vec<u8>;

/// Changes the middle record of a type in one byte.
fn change(directory: &Directory, topic: &str, kind: Kind, edit: Edit) -> (Directory, Entry) {
    let mut place = None;
    let changed = directory.changed(|dump| {
        let of_kind: Vec<usize> = (0..dump.len()).filter(|at| dump[*at].kind == kind && dump[*at].topic == topic).collect();
        let entry = &mut dump[of_kind[of_kind.len() / 2]];
        let edited = edit(&entry.payload);
        assert_eq!(differing_bytes(&entry.payload, &edited), 1, "{kind:?}: one byte is changed");
        entry.payload = edited;
        place = Some(entry.clone());
    });
    (changed, place.expect("a record of that type"))
}

fn differing_bytes(left: &[u8], right: &[u8]) -> usize {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).filter(|(left, right)| left != right).count()
}

/// Replay must stop at the entry, and name topic, partition, offset and field.
fn assert_named(replayed: &Done, entry: &Entry, field: &str) {
    replayed.refused(3, "log_differs");
    let message = replayed.failure()["error"].as_str().unwrap_or_default().to_owned();
    let place = format!("{}/{} at offset {} ", entry.topic, entry.partition, entry.offset);
    assert!(message.starts_with(&place), "{message} does not name {place}");
    assert!(message.contains(&format!("differs in {field}")), "{message} does not name {field}");
}

#[test]
fn one_changed_byte_is_named_by_record_and_field() {
    let directory = example();
    let cases: [(&str, Kind, &str, Edit); 7] = [
        ("eval.scores", Kind::ScoreUpdated, "value.observation", |bytes| {
            let score = ScoreUpdated::decode(bytes).expect("canonical");
            encoded(ScoreUpdated { observation: next(score.observation), ..score })
        }),
        ("eval.scores", Kind::ScoreUpdated, "value.windows[2].components[0].contribution", |bytes| {
            let score = ScoreUpdated::decode(bytes).expect("canonical");
            let mut windows: Vec<WindowScore<'_>> = score.windows.iter().collect();
            let mut components: Vec<Option<Component>> = windows[2].components.iter().collect();
            components[0] = components[0].map(|component| Component { contribution: next(component.contribution), ..component });
            windows[2].components = List::Slice(&components);
            encoded(ScoreUpdated { windows: List::Slice(&windows), ..score })
        }),
        ("eval.promotions", Kind::PromotionProposed, "value.rationale", |bytes| {
            let promotion = PromotionProposed::decode(bytes).expect("canonical");
            let rationale = promotion.rationale.replacen("score", "Score", 1);
            encoded(PromotionProposed { rationale: &rationale, ..promotion })
        }),
        ("alloc.decisions", Kind::PolicyDecided, "value.input", |bytes| {
            let mut verdict = PolicyDecided::decode(bytes).expect("canonical");
            verdict.input[31] ^= 1;
            encoded(verdict)
        }),
        ("alloc.applied", Kind::AllocationRequested, "value.delta", |bytes| {
            let request = AllocationRequested::decode(bytes).expect("canonical");
            encoded(AllocationRequested { delta: request.delta ^ 1, ..request })
        }),
        ("alloc.applied", Kind::AllocationConfirmed, "value.timestamp", |bytes| {
            let confirmed = AllocationConfirmed::decode(bytes).expect("canonical");
            encoded(AllocationConfirmed { timestamp: EventTime(confirmed.timestamp.0 ^ 1), ..confirmed })
        }),
        ("audit", Kind::SealedLeaf, "value.leaf", |bytes| {
            let sealed = SealedLeaf::decode(bytes).expect("canonical");
            encoded(SealedLeaf { leaf: &flipped(sealed.leaf, sealed.leaf.len() / 2), ..sealed })
        }),
    ];
    for (topic, kind, field, edit) in cases {
        let (changed, entry) = change(&directory, topic, kind, edit);
        assert_named(&changed.replay(), &entry, field);
    }
}

#[test]
fn a_changed_leaf_is_named_on_its_way_to_the_sealer() {
    let (changed, entry) = change(&example(), "audit.intake", Kind::AuditLeaf, |bytes| {
        let leaf = AuditLeaf::decode(bytes).expect("canonical");
        encoded(AuditLeaf { leaf: &flipped(leaf.leaf, leaf.leaf.len() / 2), ..leaf })
    });
    assert_named(&changed.replay(), &entry, "value.leaf");
}

/// A report is an input, so it is its score that differs.
#[test]
fn a_changed_report_is_found_by_its_score() {
    let (changed, entry) = change(&example(), "eval.reports", Kind::EvalReport, |bytes| {
        let report = EvalReport::decode(bytes).expect("canonical");
        let mut metrics: Vec<Metric<'_>> = report.metrics.iter().collect();
        metrics[1].value = Fixed(metrics[1].value.0 ^ 32); // enough not to be rounded away
        encoded(EvalReport { metrics: List::Slice(&metrics), ..report })
    });
    let replayed = changed.replay();
    replayed.refused(3, "log_differs");
    let message = replayed.failure()["error"].to_string();
    assert!(message.contains(&format!("eval.scores/{} ", entry.partition)), "{message}");
}

#[test]
fn a_record_that_is_missing_or_too_much_is_named() {
    let directory = example();
    let last_score = |dump: &[Entry]| dump.iter().rposition(|entry| entry.topic == "eval.scores").expect("scores");
    let without = directory.changed(|dump| drop(dump.remove(last_score(dump))));
    let with_two = directory.changed(|dump| dump.insert(last_score(dump), dump[last_score(dump)].clone()));
    for changed in [without, with_two] {
        let replayed = changed.replay();
        replayed.refused(3, "log_differs");
        assert!(replayed.failure()["error"].to_string().contains("eval.scores/"), "{replayed:?}");
    }
}

/// Wherever the byte lies, replay neither passes it nor breaks.
#[test]
fn no_changed_byte_of_a_derived_record_passes() {
    let directory = example();
    let mut random = Random::new(1);
    for case in 0..20 {
        let mut place = None;
        let changed = directory.changed(|dump| {
            let derived: Vec<usize> = (0..dump.len()).filter(|at| !dump[*at].is_outside()).collect();
            let entry = &mut dump[*random.one(&derived)];
            let at = random.below(entry.payload.len() as u64) as usize;
            entry.payload[at] ^= 1 << random.below(8);
            place = Some((entry.topic.clone(), entry.partition, entry.offset, at));
        });
        let replayed = changed.replay();
        assert_eq!(replayed.code, Some(3), "case {case}, {place:?}: {replayed:?}");
    }
}

/// A start recomputes what no checkpoint covers, and a difference stops it before it writes.
#[test]
fn an_import_onto_a_changed_log_stops_at_the_difference() {
    let (changed, entry) = change(&example(), "eval.scores", Kind::ScoreUpdated, |bytes| {
        let score = ScoreUpdated::decode(bytes).expect("canonical");
        encoded(ScoreUpdated { observation: next(score.observation), ..score })
    });
    let before = changed.dump();
    let refused = changed.import_trace().run();
    assert_named(&refused, &entry, "value.observation");
    let failure = refused.failure();
    let stream = changed.stream(&entry);
    assert!(stream.starts_with(&format!("evaluate/score-window/{}/", entry.partition)) && stream.len() > 80, "{stream} has no lineage");
    let named = format!("(stream {stream}, sequence {})", entry.sequence);
    assert!(failure["error"].as_str().is_some_and(|error| error.contains(&named)), "{failure} does not name {named}");
    let way_out = "merit topology apply --new-lineage PARTITION --reason TEXT";
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains(way_out)), "{failure}");
    merit_tests::dump::assert_equal("after the refusal", &before, &changed.dump());
}

fn verify(directory: &Directory) -> Done {
    directory.call(["audit", "verify"]).run()
}

#[test]
fn the_audit_log_of_the_real_trace_verifies() {
    let verified = verify(&example());
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert_eq!(verified.json()["verified"], true);
}

/// The stream and the sequence that a leaf claims.
fn claimed(entry: &Entry) -> (String, u64) {
    let sealed = SealedLeaf::decode(&entry.payload).expect("canonical");
    let parsed = merit_audit::ParsedLeaf::parse(sealed.leaf).expect("a leaf");
    (parsed.envelope.stream.into(), parsed.envelope.sequence)
}

fn assert_stream_and_sequence(verified: &Done, stream: &str, sequence: u64) {
    verified.refused(3, "audit_fault");
    let message = verified.failure()["error"].to_string();
    assert!(message.contains(&format!("sequence {sequence} of {stream},")), "{message} does not name {stream} and {sequence}");
}

#[test]
fn verify_names_the_leaf_that_was_changed() {
    let directory = example();
    let dump = directory.dump();
    let leaves: Vec<usize> = (0..dump.len()).filter(|at| dump[*at].kind == Kind::SealedLeaf).collect();
    for place in [0, leaves.len() / 2, leaves.len() - 1] {
        let at = leaves[place];
        let (stream, sequence) = claimed(&dump[at]);
        // A digit of the commitment to the record, so that the envelope can still be read.
        let changed = directory.changed(|dump| {
            let sealed = SealedLeaf::decode(&dump[at].payload).expect("canonical");
            let field = b"\"payload\":\"";
            let start = sealed.leaf.windows(field.len()).position(|text| text == field).expect("it commits to a record");
            let mut leaf = sealed.leaf.to_vec();
            let digit = &mut leaf[start + field.len()];
            *digit = if *digit == b'0' { b'1' } else { b'0' };
            dump[at].payload = encoded(SealedLeaf { leaf: &leaf, ..sealed });
        });
        assert_stream_and_sequence(&verify(&changed), &stream, sequence);
    }
}

#[test]
fn verify_names_the_decision_whose_record_was_changed() {
    let directory = example();
    let dump = directory.dump();
    let (changed, promotion) = change(&directory, "eval.promotions", Kind::PromotionProposed, |bytes| {
        let promotion = PromotionProposed::decode(bytes).expect("canonical");
        let rationale = promotion.rationale.replacen("score", "Score", 1);
        encoded(PromotionProposed { rationale: &rationale, ..promotion })
    });
    let original =
        &dump.iter().find(|entry| (entry.kind, entry.offset, entry.partition) == (promotion.kind, promotion.offset, promotion.partition));
    let commit = merit_audit::leaf::payload_commit(&original.expect("it is there").payload);
    let hex = merit_core::id::Hex(&commit).to_string();
    let leaf =
        dump.iter().filter(|entry| entry.kind == Kind::SealedLeaf).find(|entry| String::from_utf8_lossy(&entry.payload).contains(&hex));
    let (stream, sequence) = claimed(leaf.expect("a leaf commits to it"));
    assert_stream_and_sequence(&verify(&changed), &stream, sequence);
}

#[test]
fn verify_finds_leaves_that_were_cut_out_or_swapped() {
    let directory = example();
    let sealed = |dump: &[Entry]| -> Vec<usize> { (0..dump.len()).filter(|at| dump[*at].kind == Kind::SealedLeaf).collect() };
    let without = directory.changed(|dump| {
        let leaves = sealed(dump);
        dump.remove(leaves[leaves.len() / 3]);
    });
    let swapped = directory.changed(|dump| {
        let leaves = sealed(dump);
        let same = |left: usize, right: usize| claimed(&dump[left]).0 == claimed(&dump[right]).0;
        let pair = leaves
            .windows(2)
            .skip(leaves.len() / 3)
            .find(|pair| same(pair[0], pair[1]))
            .expect("two leaves of one chain in a row")
            .to_vec();
        dump.swap(pair[0], pair[1]);
    });
    for changed in [without, swapped] {
        verify(&changed).refused(3, "audit_fault");
    }
}

#[test]
fn replay_of_no_log_is_refused_with_a_hint() {
    let directory = Directory::new(merit_tests::directory::Profile::Default);
    let none: Value = directory.replay().failure();
    assert_eq!(none["code"], "directory_missing", "{none}");
}
